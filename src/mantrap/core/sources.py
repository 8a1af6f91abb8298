"""Where pixels come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mantrap.errors import DataError


@runtime_checkable
class PixelSource(Protocol):
    """Where pixels come from: an array in memory, or files that are decoded as they are read."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of every image."""

    def __len__(self) -> int:
        """Number of images."""

    def read(self, index: Sequence[int]) -> Tensor:
        """These images, [n, c, h, w], as uint8 or as float32 in [0, 1]; the caller may not change them."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Pixels in memory: [n, c, h, w], uint8 or float32 in [0, 1]."""

    pixels: Tensor

    @classmethod
    def of(cls, pixels: "np.ndarray | Tensor", name: str) -> "ArraySource":
        """Check an array or tensor and bring it to [n, c, h, w]."""
        if isinstance(pixels, np.ndarray):
            if pixels.ndim == 3:
                pixels = pixels[..., None]
            tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))) if pixels.ndim == 4 else None
        else:
            tensor = pixels.detach().cpu() if pixels.ndim == 4 else None
        if tensor is None or not (tensor.dtype == torch.uint8 or tensor.is_floating_point()):
            raise DataError(
                expected=f"uint8 or float images of shape [n, c, h, w] (an array: [n, h, w] or [n, h, w, c]) in {name}",
                got=f"{pixels.dtype} of shape {tuple(pixels.shape)}",
                remedy="Reorder or convert the array.",
            )
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
            low, high = (float(tensor.min()), float(tensor.max())) if tensor.numel() else (0.0, 0.0)
            if not (low >= 0.0 and high <= 1.0):
                raise DataError(
                    expected=f"pixels in [0, 1] in {name}",
                    got=f"{low:.4g} to {high:.4g}",
                    remedy="Undo the normalisation (the model's own goes into mean and std), or give uint8.",
                )
        return cls(tensor.clone())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, c, h, w = self.pixels.shape
        return (c, h, w)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: Sequence[int]) -> Tensor:
        """These images; a run of neighbours is not copied."""
        if isinstance(index, range) and index.step == 1:
            return self.pixels[index.start : index.stop]
        return self.pixels[list(index)]


@dataclass(frozen=True, eq=False)
class SourceOver:
    """Base of sources that change another's pixels as they are read: as many images, of the same shape."""

    source: PixelSource

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class ChosenSource:
    """Some images of another source, in an order of their own."""

    source: PixelSource
    index: list[int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.index)

    def read(self, index: Sequence[int]) -> Tensor:
        """These of the chosen images."""
        return self.source.read([self.index[i] for i in index])
