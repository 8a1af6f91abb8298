"""Adversarial examples as a file holds them: whole grey levels, within the budget all the same."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import AnyNorm
from mantrap.core.shapes import Images
from mantrap.ops.projections import norms

LEVELS: Final = 255
"""Grey levels above black."""
_SLACK = 1e-4
"""Grey levels by which a change in floating point may miss a whole one."""


def whole_levels(images: Images) -> Images:
    """The images as 8-bit pictures hold them, [n, c, h, w] in [0, 1]."""
    return (images * LEVELS).round() / LEVELS


def as_saved(perturbed: Images, originals: Images, *, eps: float | None = None, norm: AnyNorm = "linf") -> Images:
    """What is left of adversarial examples when they are written as 8-bit pictures.

    Args:
        perturbed: [n, c, h, w] in [0, 1].
        originals: What they were made of, [n, c, h, w] in [0, 1], in whole grey levels.
        eps: Budget to keep; ``None`` for none.
        norm: What it is measured by.

    Returns:
        [n, c, h, w], whole grey levels over 255. Changes are rounded to the nearest level. For L-infinity they are cut
        to what is allowed; of an image that would exceed another budget so, those that were rounded up the farthest are
        rounded towards the original instead, as many as it takes.
    """
    levels = (perturbed - originals) * LEVELS
    nearest = levels.round()
    if eps is None:
        return _pictures(originals, nearest)
    most = _levels_of(eps)
    if norm == "linf":
        whole = int(most)
        return _pictures(originals, nearest.clamp(-whole, whole))
    lower = _lowered(levels.abs().flatten(1), most, 1 if norm == "l1" else 2)
    return _pictures(originals, lower.view_as(levels) * levels.sign())


def beyond(saved: Images, originals: Images, eps: float, norm: AnyNorm) -> int:
    """How many pictures differ from their originals by more than a budget, counted in grey levels."""
    # In whole numbers, where two pictures differ by whole levels and nothing is lost to rounding.
    levels = ((saved - originals).double() * LEVELS).round()
    return int((norms(levels, norm) > _levels_of(eps)).sum())


def _levels_of(eps: float) -> float:
    """A budget in grey levels, with what may be lost to rounding."""
    return eps * LEVELS + _SLACK


def _lowered(sizes: Float[Tensor, "n d"], most: float, power: int) -> Float[Tensor, "n d"]:
    """Sizes in whole levels whose powers sum to that of ``most`` or less, as near to the given ones as can be."""
    nearest = sizes.round()
    raised = (nearest - sizes).masked_fill(nearest <= sizes + _SLACK, -torch.inf)
    order = raised.argsort(dim=1, descending=True, stable=True)
    sums = nearest.double().pow(power)
    saved = torch.where(raised > 0, sums - (nearest.double() - 1).pow(power), 0.0).gather(1, order)
    before = saved.cumsum(1) - saved
    over = sums.sum(1, keepdim=True) - before > most**power  # without what comes before it in the order
    lowered = torch.zeros_like(nearest).scatter(1, order, over.to(nearest.dtype))
    return nearest - lowered.masked_fill(raised <= 0, 0.0)


def _pictures(originals: Images, levels: Images) -> Images:
    return whole_levels((originals + levels / LEVELS).clamp(0, 1))
