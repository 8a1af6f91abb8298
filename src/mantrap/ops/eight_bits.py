"""Adversarial examples as a file holds them: whole grey levels, within the budget all the same."""

from typing import Final

import torch

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
        [n, c, h, w], whole grey levels over 255. Changes are rounded to the nearest level; those of images that would
        exceed the budget so are rounded towards the original, and for L-infinity cut to what is allowed.
    """
    levels = (perturbed - originals) * LEVELS
    nearest = levels.round()
    if eps is None:
        return _pictures(originals, nearest)
    most = eps * LEVELS
    if norm == "linf":
        whole = int(most + _SLACK)
        return _pictures(originals, nearest.clamp(-whole, whole))
    towards = (levels.abs() + _SLACK).floor() * levels.sign()
    within = norms(nearest, norm) <= most + _SLACK
    return _pictures(originals, torch.where(within.view(-1, 1, 1, 1), nearest, towards))


def beyond(saved: Images, originals: Images, eps: float, norm: AnyNorm) -> int:
    """How many pictures differ from their originals by more than a budget, counted in grey levels."""
    # In whole numbers, where two pictures differ by whole levels and nothing is lost to rounding.
    levels = ((saved - originals).double() * LEVELS).round()
    return int((norms(levels, norm) > eps * LEVELS * (1 + 1e-6)).sum())


def _pictures(originals: Images, levels: Images) -> Images:
    return whole_levels((originals + levels / LEVELS).clamp(0, 1))
