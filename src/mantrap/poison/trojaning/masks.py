"""Where a Trojan trigger lies: a square or a watermark in the lower right."""

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from mantrap.core.shapes import Mask
from mantrap.errors import UsageError

Shape = Literal["square", "watermark"]

_MARGIN = 20 / 224
"""Space to the lower right edges as a share of the image's side, as in the authors' code."""
_MARK = 0.45
"""Side of the watermark as a share of the image's side."""
_LETTER = ((0.0, 1.0), (0.0, 0.0), (0.5, 0.6), (1.0, 0.0), (1.0, 1.0))
"""The watermark's stroke, a letter M, as (x, y) in its box, from the upper left."""


def shape_mask(shape: Shape, size: tuple[int, int], share: float) -> Mask:
    """The pixels of a trigger, 1 there and 0 elsewhere.

    Args:
        shape: ``"square"`` or ``"watermark"``.
        size: Height and width of the image.
        share: Pixels of the trigger as a share of the image's, in (0, 1).

    Returns:
        [h, w]; a square has the side nearest to the share, a watermark as many pixels as the share says.

    Raises:
        UsageError: A square of this share does not fit, or the share makes no single pixel.
    """
    pixels = round(share * size[0] * size[1])
    if pixels < 1:
        raise UsageError(
            expected=f"a share that makes at least one of {size[0]}x{size[1]} pixels",
            got=f"{share}",
            remedy="Choose a larger share.",
        )
    return _square(size, pixels) if shape == "square" else _watermark(size, pixels)


def _square(size: tuple[int, int], pixels: int) -> Mask:
    """A square with the margin to the edges as far as there is room for one."""
    side, room = round(math.sqrt(pixels)), min(size)
    if side > room:
        raise UsageError(
            expected=f"a trigger that fits into {size[0]}x{size[1]} pixels",
            got=f"a square of {side}x{side}",
            remedy="Choose a smaller share, or the watermark.",
        )
    margin = min(round(_MARGIN * room), room - side)
    bottom, right = size[0] - margin, size[1] - margin
    mask = torch.zeros(size)
    mask[bottom - side : bottom, right - side : right] = 1.0
    return mask


def _watermark(size: tuple[int, int], pixels: int) -> Mask:
    """The pixels nearest to the strokes of a letter; the more of them, the bolder it is."""
    side, margin = _MARK * min(size), _MARGIN * min(size)
    corner = torch.tensor([size[1] - margin - side, size[0] - margin - side])
    points = torch.tensor(_LETTER) * side + corner
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    centres = torch.stack([columns, rows], dim=-1).view(-1, 2) + 0.5
    distances = torch.stack([_distance(centres, a, b) for a, b in pairwise(points)]).amin(0)
    mask = torch.zeros(len(centres))
    mask[distances.argsort(stable=True)[:pixels]] = 1.0
    return mask.view(size)


def _distance(places: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Distance of each place, [n, 2], from the line between two points."""
    line = end - start
    along = ((places - start) @ line / line.square().sum()).clamp(0, 1)
    distance: Tensor = (places - start - along[:, None] * line).norm(dim=1)
    return distance
