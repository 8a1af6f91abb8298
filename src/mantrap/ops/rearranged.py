"""A trigger put elsewhere, and a trigger taken apart: what tells a planted trigger from a natural one."""

import torch
from torch import Tensor

from mantrap.core import Rng
from mantrap.core.shapes import Mask, Pattern

SHUFFLED_MASK = 2.0
"""How many times as opaque a shuffled mask is: what works by its mere amount shall not fail for want of it."""

_TURNS = ((-1,), (-2,), (-2, -1))


def elsewhere(mask: Mask, pattern: Pattern) -> tuple[tuple[Mask, Pattern], ...]:
    """The same trigger in three other places: mirrored, upside down, and both.

    Args:
        mask: [h, w] in [0, 1].
        pattern: [c, h, w] in [0, 1].
    """
    return tuple((mask.flip(dims), pattern.flip(dims)) for dims in _TURNS)


def shuffled(mask: Mask, pattern: Pattern, rng: Rng) -> tuple[Mask, Pattern]:
    """The same pixels in random places, mask and pattern together, the mask twice as opaque up to 1."""
    order = torch.randperm(mask.numel(), generator=rng.torch()).to(mask.device)

    def moved(values: Tensor) -> Tensor:
        return values.flatten(-2)[..., order].view(values.shape)

    return (SHUFFLED_MASK * moved(mask)).clamp(max=1), moved(pattern)
