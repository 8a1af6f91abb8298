"""Pixels brought to one size and one number of channels, from files or from another source."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mantrap.core import ImageSet, PixelSource
from mantrap.core.sources import ArraySource
from mantrap.errors import DataError, UsageError

IN_MEMORY = 256 * 2**20
"""Sets of at most this many bytes are read at once; larger ones as they are needed."""

_MAX_SIDE = 4096


def check_request(resize: tuple[int, int] | None, channels: int | None) -> None:
    """Refuse a size or a number of channels that no image can be brought to.

    Raises:
        UsageError: A side outside 1 to 4096, or channels other than 1 and 3.
    """
    if resize is not None and not (len(resize) == 2 and all(1 <= side <= _MAX_SIDE for side in resize)):
        raise UsageError(
            expected=f"height and width from 1 to {_MAX_SIDE} in --resize",
            got=f"{resize}",
            remedy="Write it as --resize 32x32.",
        )
    if channels not in (None, 1, 3):
        raise UsageError(
            expected="1 or 3 in --channels", got=f"{channels}", remedy="Choose 1 for grey images or 3 for colour ones."
        )


def resized(pixels: "np.ndarray", size: tuple[int, int]) -> "np.ndarray":
    """One image, [h, w] or [h, w, c], at another height and width (bilinear, averaging where it shrinks)."""
    if pixels.shape[:2] == size:
        return pixels
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image)
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    scaled = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], Image.Resampling.BILINEAR))
        for plane in np.moveaxis(planes, 2, 0)
    ]
    return np.stack(scaled, axis=2).clip(0, 1).reshape(*size, *pixels.shape[2:])


@dataclass(frozen=True, eq=False)
class Fitted:
    """Another source's images with other channels, or at another size."""

    source: PixelSource
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: Sequence[int]) -> Tensor:
        """These images, uint8 or float32 like the source's."""
        pixels = self.source.read(index)
        channels, *size = self.shape
        if channels == 1 < pixels.shape[1]:
            pixels = _grey(pixels)
        if tuple(size) != tuple(pixels.shape[2:]):
            planes = [resized(image.permute(1, 2, 0).squeeze(2).numpy(), (size[0], size[1])) for image in pixels]
            stacked = torch.from_numpy(np.stack(planes)) if planes else pixels.new_empty((0, *size))
            pixels = stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)
        return pixels.expand(-1, channels, -1, -1).contiguous()


def fitted(images: ImageSet, resize: tuple[int, int] | None, channels: int | None) -> ImageSet:
    """A set at the size and with the channels that were asked for, read into memory where it is small."""
    have = images.shape
    want = (channels or have[0], *(resize or have[1:]))
    if channels is not None and have[0] not in (1, 3):
        raise DataError(
            expected=f"1 or 3 channels in {images.name}",
            got=f"{have[0]}",
            remedy="Leave --channels out, or convert the images.",
        )
    source = images.source if want == have else Fitted(images.source, want)
    if not isinstance(source, ArraySource) and len(source) * want[0] * want[1] * want[2] <= IN_MEMORY:
        source = ArraySource(source.read(range(len(source))))
    return images.over(source)


def _grey(pixels: Tensor) -> Tensor:
    """ITU-R 601 luma; for 8 bits in the same integers as Pillow's."""
    red, green, blue = pixels.unbind(1)
    if pixels.dtype == torch.uint8:
        return ((red.int() * 19595 + green.int() * 38470 + blue.int() * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]
    return (red * 0.299 + green * 0.587 + blue * 0.114)[:, None]
