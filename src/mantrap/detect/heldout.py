"""Measure recovered triggers on images that the search has not seen."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import torch

from mantrap.core import Classifier, Cost, ImageSet, ReversedPatch, ReversedTrigger
from mantrap.core.shapes import Images, Labels
from mantrap.ops.intervals import wilson
from mantrap.ops.recovered import put_on, stronger
from mantrap.ops.scores import predictions, predictions_under, trigger_success
from mantrap.records import Rate

FACTORS: Final = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
"""How many times as strong a trigger is made that does not work as it is."""


@torch.no_grad()
def strong_enough(
    model: Classifier, images: Images, trigger: ReversedTrigger, *, share: float, at_once: int
) -> ReversedTrigger:
    """The trigger, made stronger until it works on these images, or as strong as it works best.

    The smallest of many that seemed to work on a few images works on somewhat fewer of the others.

    Args:
        model: The classifier, frozen.
        images: Images to try it on, [n, c, h, w] on the model's device.
        trigger: What was found.
        share: Share of them, but those that go to its target anyway, that it has to send there.
        at_once: Images in one pass.
    """
    answers = torch.cat([model.logits(some).argmax(1) for some in images.split(at_once)])
    others = images[answers != trigger.target]
    best, most = trigger, -1.0
    for factor in FACTORS if len(others) else ():
        tried = stronger(trigger, factor)
        after = [model.logits(put_on(some, tried)).argmax(1) for some in others.split(at_once)]
        hits = float((torch.cat(after) == trigger.target).float().mean())
        if hits > most:
            best, most = tried, hits
        if hits >= share:
            break
    return best


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
