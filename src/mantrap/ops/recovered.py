"""A trigger that a search recovered: on images, put elsewhere, and taken apart."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mantrap.core import Classifier, ReversedPatch, ReversedPerturbation, ReversedTrigger, ReversedWarp, Rng
from mantrap.core.shapes import Images, Mask
from mantrap.errors import UsageError
from mantrap.ops.stamp import stamp
from mantrap.ops.warp import warp

STRONGER = 2.0
"""How many times as strong a shuffled trigger is: what works by its mere amount shall not fail for want of it."""

_COVERS = 3.0
"""How many times as opaque what hides a patch is: recovered masks are fainter than what was planted."""
_TURNS = ((-1,), (-2,), (-2, -1))


KINDS: dict[str, type[ReversedPatch | ReversedPerturbation | ReversedWarp]] = {
    "patch": ReversedPatch,
    "perturbation": ReversedPerturbation,
    "warp": ReversedWarp,
}
"""Every kind of trigger, by its name in files."""


def kind_of(trigger: ReversedTrigger) -> str:
    """What a trigger is, in words."""
    if isinstance(trigger, ReversedPatch):
        return "patch"
    return "warp" if isinstance(trigger, ReversedWarp) else "change of all pixels"


def made_of(trigger: ReversedTrigger) -> dict[str, Tensor]:
    """The tensors of a trigger, by name."""
    return {field.name: getattr(trigger, field.name) for field in fields(trigger) if field.name != "target"}


def fit_images(parts: Mapping[str, Tensor], shape: tuple[int, int, int]) -> bool:
    """Whether the tensors of a trigger, by name, are those of one for images [c, h, w]."""
    wanted = {"mask": shape[1:], "pattern": shape, "delta": shape, "flow": (2, *shape[1:])}
    return all(tuple(tensor.shape) == wanted[name] for name, tensor in parts.items())


def check_triggers(model: Classifier, triggers: Sequence[ReversedTrigger]) -> None:
    """Refuse triggers that do not fit a model.

    Raises:
        UsageError: One is of another size than the model's images, or leads to a label that the model does not have.
    """
    for trigger in triggers:
        if not fit_images(made_of(trigger), model.input_shape):
            raise UsageError(
                expected=f"triggers for images of {'x'.join(map(str, model.input_shape))}",
                got=f"one of {', '.join('x'.join(map(str, part.shape)) for part in made_of(trigger).values())}",
                remedy="Give triggers that were recovered from this model.",
            )
        if not 0 <= trigger.target < model.num_classes:
            raise UsageError(
                expected=f"triggers for the labels 0 to {model.num_classes - 1}",
                got=f"one for label {trigger.target}",
                remedy="Give triggers that were recovered from this model.",
            )


def put_on(images: Images, trigger: ReversedTrigger) -> Images:
    """The images, [n, c, h, w] in [0, 1], with the trigger on them."""
    if isinstance(trigger, ReversedPatch):
        return stamp(images, trigger.mask.to(images.device), trigger.pattern.to(images.device))
    if isinstance(trigger, ReversedWarp):
        return warp(images, trigger.flow.to(images.device)[None])
    return (images + trigger.delta.to(images.device)).clamp(0, 1)


def reach(trigger: ReversedTrigger) -> Mask:
    """How much a trigger does to each pixel, [h, w]: how opaque it is, how much it changes, or how far it moves it."""
    if isinstance(trigger, ReversedPatch):
        return trigger.mask
    if isinstance(trigger, ReversedWarp):
        return trigger.flow.square().sum(0).sqrt()
    return trigger.delta.abs().amax(0)


def support(change: Mask) -> Bool[Tensor, "h w"]:
    """The pixels that change by half of the largest change, or more; none where nothing changes."""
    return (change >= change.max() / 2) & (change > 0)


def taken_off(images: Images, trigger: ReversedTrigger, filling: Float[Tensor, "c h w"]) -> Images:
    """The images, [n, c, h, w] in [0, 1], as they would be about without the trigger, if they carried it.

    Args:
        images: Images that may carry it.
        trigger: What may be on them.
        filling: What is put where a patch covers an image, such as the mean of others.
    """
    if isinstance(trigger, ReversedPatch):
        hidden = (_COVERS * trigger.mask).clamp(max=1).to(images.device)
        return stamp(images, hidden, filling.to(images.device))
    if isinstance(trigger, ReversedWarp):
        return warp(images, -trigger.flow.to(images.device)[None])
    return (images - trigger.delta.to(images.device)).clamp(0, 1)


def elsewhere(trigger: ReversedTrigger) -> tuple[ReversedTrigger, ...]:
    """The same trigger in three other places: mirrored, upside down, and both."""
    if isinstance(trigger, ReversedPatch):
        return tuple(ReversedPatch(trigger.target, trigger.mask.flip(d), trigger.pattern.flip(d)) for d in _TURNS)
    if isinstance(trigger, ReversedWarp):
        return tuple(ReversedWarp(trigger.target, _turned(trigger.flow, d)) for d in _TURNS)
    return tuple(ReversedPerturbation(trigger.target, trigger.delta.flip(d)) for d in _TURNS)


def stronger(trigger: ReversedTrigger, factor: float) -> ReversedTrigger:
    """The same trigger so many times as strong: by its opacity, its amplitude or how far it moves pixels."""
    if isinstance(trigger, ReversedPatch):
        return ReversedPatch(trigger.target, (factor * trigger.mask).clamp(max=1), trigger.pattern)
    if isinstance(trigger, ReversedWarp):
        return ReversedWarp(trigger.target, factor * trigger.flow)
    return ReversedPerturbation(trigger.target, (factor * trigger.delta).clamp(-1, 1))


def shuffled(trigger: ReversedTrigger, rng: Rng) -> ReversedTrigger:
    """The same pixels in random places, all channels together, and twice as strong as far as pixels allow."""
    values = _values(trigger)
    order = torch.randperm(values.shape[-2] * values.shape[-1], generator=rng.torch()).to(values.device)

    def moved(values: Tensor) -> Tensor:
        return values.flatten(-2)[..., order].view(values.shape)

    if isinstance(trigger, ReversedPatch):
        there: ReversedTrigger = ReversedPatch(trigger.target, moved(trigger.mask), moved(trigger.pattern))
    elif isinstance(trigger, ReversedWarp):
        there = ReversedWarp(trigger.target, moved(trigger.flow))
    else:
        there = ReversedPerturbation(trigger.target, moved(trigger.delta))
    return stronger(there, STRONGER)


def _values(trigger: ReversedTrigger) -> Tensor:
    """What a trigger does to each pixel, [..., h, w]."""
    if isinstance(trigger, ReversedPatch):
        return trigger.mask
    return trigger.flow if isinstance(trigger, ReversedWarp) else trigger.delta


def _turned(flow: Tensor, sides: tuple[int, ...]) -> Tensor:
    """A flow [2, h, w] mirrored: what ran to the right runs to the left, what ran down runs up."""
    signs = torch.ones(2, 1, 1, device=flow.device)
    for side in sides:
        signs[0 if side == -1 else 1] = -1
    return signs * flow.flip(sides)
