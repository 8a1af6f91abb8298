"""Measure recovered triggers on images that the search has not seen."""

import dataclasses
from collections.abc import Sequence
from functools import partial

from mantrap.core import Classifier, Cost, ImageSet, ReversedTrigger
from mantrap.ops.scores import source_classes, trigger_success
from mantrap.ops.stamp import stamp


def measure_triggers(
    model: Classifier, heldout: ImageSet, triggers: Sequence[ReversedTrigger]
) -> tuple[tuple[ReversedTrigger, ...], Cost]:
    """The same triggers with their success on held-out images of other classes, and what that cost.

    An image's class is its label, or where the set has none the model's own answer. Where every held-out image belongs
    to a trigger's target, or the search for it found nothing, its success stays ``None``.
    """
    sources = source_classes(model, heldout)
    forward = 0 if heldout.labelled else len(heldout)
    measured: list[ReversedTrigger] = []
    for trigger in triggers:
        if trigger.censored or bool((sources == trigger.target).all()):
            measured.append(trigger)
            continue
        apply = partial(stamp, mask=trigger.mask.to(model.device), pattern=trigger.pattern.to(model.device))
        rate = trigger_success(model, heldout, apply, trigger.target, sources=sources)
        measured.append(dataclasses.replace(trigger, success=rate))
        forward += len(heldout)
    return tuple(measured), Cost(forward=forward)
