"""Measure recovered triggers on images that the search has not seen."""

from collections.abc import Sequence
from functools import partial

import torch

from mantrap.core import Classifier, Cost, ImageSet, ReversedPatch, ReversedTrigger
from mantrap.core.shapes import Labels
from mantrap.ops.intervals import wilson
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import predictions, predictions_under, trigger_success
from mantrap.records import Rate


def measure_triggers(
    model: Classifier, heldout: ImageSet, triggers: Sequence[ReversedTrigger]
) -> tuple[dict[int, Rate], Cost]:
    """The success of triggers on held-out images of other classes, by target, and what that cost.

    Images that belong to a trigger's target do not count, nor those that the model sends there without it: a model
    that always gives the same answer shows no trigger at work. A target has no entry where no image is left.
    """
    if not triggers:
        return {}, Cost()
    answers = predictions(model, heldout)
    forward = len(heldout)
    rates: dict[int, Rate] = {}
    for trigger in triggers:
        classes = answers if heldout.labels is None else heldout.labels
        sources = torch.where(answers == trigger.target, answers, classes)
        if bool((sources == trigger.target).all()):
            continue
        apply = partial(put_on, trigger=trigger)
        rates[trigger.target] = trigger_success(model, heldout, apply, trigger.target, sources=sources)
        forward += len(heldout)
    return rates, Cost(forward=forward)


def measure_shift(model: Classifier, heldout: ImageSet, patch: ReversedPatch, sources: Labels) -> dict[int, Rate]:
    """By class, how many held-out images a patch sends to the class ``patch.target`` further on.

    Args:
        model: The classifier.
        heldout: Images that the search has not seen.
        patch: What is put on them.
        sources: The class of each image.
    """
    outcomes = predictions_under(model, heldout, partial(put_on, trigger=patch))
    moved = outcomes == (sources + patch.target) % model.num_classes
    of_each = ((int(c), sources == c) for c in torch.unique(sources))
    return {c: wilson(int(moved[some].sum()), int(some.sum())) for c, some in of_each}
