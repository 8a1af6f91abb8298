"""Recovered triggers beside the planted ones that lead to the same labels, as records."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from mantrap.core import Classifier, ImageSet, ReversedTrigger
from mantrap.core.truth import Backdoor, GroundTruth
from mantrap.measure import Changed, changed, excited_by, kept_points, overlap, triggered
from mantrap.ops.intervals import wilson
from mantrap.ops.recovered import kind_of, put_on
from mantrap.ops.scores import predictions, source_classes, trigger_success
from mantrap.poison import RELABELLINGS
from mantrap.records import Likeness, Look, NeuronLikeness
from mantrap.workflow.pictures import mask_picture, picture
from mantrap.workflow.words import size_of

_LOOKED_AT = 512
"""Images that triggers are compared on, at most."""


def likenesses(
    model: Classifier,
    images: ImageSet,
    truth: GroundTruth,
    tensors: Mapping[str, Tensor],
    recovered: Sequence[ReversedTrigger],
) -> tuple[Likeness, ...]:
    """Each recovered trigger beside each planted one that leads to its label; others have nothing beside them.

    Args:
        model: The backdoored classifier.
        images: Clean images, best such as no search has seen; a few hundred of them are looked at, evenly.
        truth: What was planted.
        tensors: What the attack learned, as it came with the truth.
        recovered: What an audit found.
    """
    with model.frozen():
        return tuple(
            _likeness(model, _shown(model, images, backdoor), truth, tensors, number, trigger)
            for trigger in recovered
            for number, backdoor in enumerate(truth.backdoors)
            if backdoor.target == trigger.target
        )


def _shown(model: Classifier, images: ImageSet, backdoor: Backdoor) -> ImageSet:
    """Some of the images; where the attack is aimed at none of these, some of those at which it is."""
    aims = RELABELLINGS.create(backdoor.relabelling)
    attacked = aims.attacked(source_classes(model, images))
    some = _evenly(range(len(images)))
    return images.subset(some if bool(attacked[some].any()) else _evenly(attacked.nonzero().flatten().tolist()))


def _evenly(numbers: Sequence[int]) -> list[int]:
    """Some of them from one end to the other: a folder lists one class after another."""
    count = min(len(numbers), _LOOKED_AT)
    return [numbers[n * len(numbers) // count] for n in range(count)]


def _likeness(
    model: Classifier,
    images: ImageSet,
    truth: GroundTruth,
    tensors: Mapping[str, Tensor],
    number: int,
    recovered: ReversedTrigger,
) -> Likeness:
    backdoor, stamped = truth.backdoors[number], triggered(images, truth, number, tensors)
    classes, put = source_classes(model, images), partial(put_on, trigger=recovered)
    attacked = RELABELLINGS.create(backdoor.relabelling).attacked(classes)
    hits = (predictions(model, stamped) == recovered.target) & attacked
    one, other = changed(images, stamped), changed(images, put)
    first = int(attacked.nonzero()[0]) if bool(attacked.any()) else 0
    clean = images.images([first])
    return Likeness(
        label=recovered.target,
        class_name=model.class_names[recovered.target],
        kind=kind_of(recovered),
        trigger=backdoor.trigger,
        planted_success=wilson(int(hits.sum()), int(attacked.sum())),
        recovered_success=trigger_success(model, images, put, recovered.target, sources=classes),
        planted=_look(one, stamped.images([first])[0], "", "the planted trigger"),
        recovered=_look(other, put(clean)[0], size_of(recovered), "the recovered trigger"),
        clean=picture(clean[0], "An image without a trigger."),
        overlap=overlap(one.support, other.support),
        apart=None if one.middle is None or other.middle is None else math.dist(one.middle, other.middle),
        neurons=_neurons(model, images, stamped, recovered, attacked),
    )


def _look(change: Changed, example: Tensor, size: str, what: str) -> Look:
    return Look(
        size=size,
        pixels=int(change.support.sum()),
        middle=change.middle,
        colour=tuple(change.colour.tolist()),
        change=mask_picture(
            change.change / change.change.max().clamp_min(torch.finfo(torch.float32).tiny),
            f"Change by {what}: white where pixels change most.",
        ),
        example=picture(example, f"The image with {what}."),
    )


def _neurons(
    model: Classifier, images: ImageSet, stamped: ImageSet, recovered: ReversedTrigger, attacked: Tensor
) -> NeuronLikeness | None:
    found = excited_by(model, images, stamped, recovered)
    if found is None:
        return None
    return NeuronLikeness(
        layer=found.layer,
        neurons=len(found.order),
        top=found.top,
        clean=found.clean,
        planted=found.planted,
        recovered=found.recovered,
        overlap=found.overlap,
        kept=kept_points(model, images, stamped, recovered, found, attacked),
    )
