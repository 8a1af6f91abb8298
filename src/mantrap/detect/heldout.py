"""Measure recovered triggers on images that the search has not seen."""

from collections.abc import Sequence
from functools import partial

from mantrap.core import Classifier, Cost, ImageSet, ReversedTrigger
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import source_classes, trigger_success
from mantrap.records import Rate


def measure_triggers(
    model: Classifier, heldout: ImageSet, triggers: Sequence[ReversedTrigger]
) -> tuple[dict[int, Rate], Cost]:
    """The success of triggers on held-out images of other classes, by target, and what that cost.

    An image's class is its label, or where the set has none the model's own answer. Where every held-out image belongs
    to a trigger's target, that target has no entry.
    """
    sources = source_classes(model, heldout)
    forward = 0 if heldout.labelled else len(heldout)
    rates: dict[int, Rate] = {}
    for trigger in triggers:
        if bool((sources == trigger.target).all()):
            continue
        apply = partial(put_on, trigger=trigger)
        rates[trigger.target] = trigger_success(model, heldout, apply, trigger.target, sources=sources)
        forward += len(heldout)
    return rates, Cost(forward=forward)
