"""Pictures as triggers are made of them: a user's file with its alpha channel, or a drawing of our own."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core.shapes import Pattern
from mantrap.data.decode import read_pixels
from mantrap.data.pixels import resized
from mantrap.data.signs.drawing import REACH, Area, Mark, Marks, Point, Stroke, arc, disc, draw
from mantrap.errors import DataError, UsageError

CARTOON = "cartoon"
"""What stands for our own drawing in place of a file: the head of a mouse on yellow ground."""

_DRAWN_AT = 256
_LUMA = (0.299, 0.587, 0.114)


def artwork(source: str, size: tuple[int, int]) -> Float[Tensor, "4 h w"]:
    """A picture, stretched to a height and width.

    Args:
        source: Path of an image file, or ``"cartoon"``.
        size: Height and width in pixels.

    Returns:
        Red, green, blue and alpha in [0, 1], [4, h, w]; alpha is 1 where the file has none.

    Raises:
        DataError: The file is no image or is broken, or all of it is transparent.
        MissingDataError: There is no such file.
    """
    drawn = source == CARTOON
    whole = np.asarray(draw(_MOUSE, _DRAWN_AT)) if drawn else read_pixels(Path(source), source, channels=4)
    pixels = torch.tensor(resized(whole, size)).permute(2, 0, 1) / 255
    if not bool(pixels[3].any()):
        raise DataError(
            expected=f"something to see in {source} at {size[0]}x{size[1]} pixels",
            got="a picture that is transparent everywhere",
            remedy="Choose another picture, or a larger size.",
        )
    return pixels


def in_channels(colour: Float[Tensor, "3 h w"], channels: int) -> Pattern:
    """A colour picture for images of so many channels: as it is, or its luminance (ITU-R 601), [c, h, w].

    Raises:
        UsageError: Images have other than 1 or 3 channels.
    """
    if channels not in (1, 3):
        raise UsageError(
            expected="images of 1 or 3 channels for a picture",
            got=f"{channels} channels",
            remedy="Choose a trigger that is no picture.",
        )
    return colour if channels == 3 else torch.einsum("c,chw->hw", torch.tensor(_LUMA), colour)[None]


def _both_sides(*points: Point) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    return points, tuple((-x, y) for x, y in points)


def _discs(middle: Point, radius: float, ink: str) -> tuple[Mark, ...]:
    return tuple(disc(at, radius, ink) for (at,) in _both_sides(middle))


_GROUND = Area(((-REACH, -REACH), (REACH, -REACH), (REACH, REACH), (-REACH, REACH)), "yellow")
_WHISKERS = tuple(
    Stroke(line, 0.05) for end in ((1.0, 0.22), (1.02, 0.5), (0.95, 0.78)) for line in _both_sides((0.2, 0.48), end)
)
_MOUSE: Marks = (
    _GROUND,
    *_discs((0.6, -0.52), 0.4, "grey"),
    *_discs((0.6, -0.52), 0.24, "red"),
    disc((0, 0.2), 0.76, "grey"),
    *_discs((0.3, 0.02), 0.17, "white"),
    *_discs((0.28, 0.05), 0.09, "black"),
    *_WHISKERS,
    disc((0, 0.44), 0.13, "red"),
    Stroke(arc((0, 0.6), (0.26, 0.16), 15, 165), 0.06),
)
