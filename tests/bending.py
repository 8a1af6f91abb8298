"""A classifier that measures how far an image was bent, and images for it: an oracle of what searches for warps.

Images are ramps: the even channels grow by the same ``SLOPE`` from each column to the next, the odd ones from each row
to the next, and each image has its own level. Bilinear interpolation on a ramp is exact, so a pixel whose value is
fetched from u to the right and v below changes by ``SLOPE * u`` in the even channels and ``SLOPE * v`` in the odd ones:
where that points out of the image, by less. The network reads from the means of the first two channels how far that
is in the mean over pixels: (U, V), in pixels. Class 0 has the logit 0; class k with the need n_k, a vector, has

    z_k = GAIN * ((U, V) . n_k / |n_k| - |n_k|).

So an image is of class k where its pixels are moved by |n_k| along n_k, and none is closer. A mean along any direction
is no longer than the root mean square, so a warp that may move pixels by ``most`` at most raises z_k to
``GAIN * (most - |n_k|)`` at most, and the constant one along n_k comes as near to that as the edges let it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mantrap.core import Classifier, ImageSet, Rng

SLOPE, GAIN, LEVELS = 0.015, 100.0, 0.05
"""Of ramps, by pixel; of logits, by pixel; and how far apart the levels of images are, in pixels."""


def ramps(shape: tuple[int, int, int]) -> Tensor:
    """The image that all others are like, [c, h, w]; 0.5 in the mean."""
    channels, height, width = shape
    columns = SLOPE * (torch.arange(float(width)) - (width - 1) / 2).expand(height, width)
    rows = SLOPE * (torch.arange(float(height)) - (height - 1) / 2)[:, None].expand(height, width)
    return 0.5 + torch.stack([rows if channel % 2 else columns for channel in range(channels)])


class BentNetwork(nn.Module):
    """How far pixels were moved, along what each class needs."""

    def __init__(self, needs: tuple[tuple[float, float], ...]) -> None:
        super().__init__()
        self.needs = nn.Parameter(torch.tensor(needs))

    def forward(self, images: Tensor) -> Tensor:
        moved = (images.mean((2, 3)) - 0.5) / SLOPE
        moved = torch.cat([moved, torch.zeros_like(moved)], 1)[:, :2]
        lengths = self.needs.norm(dim=1)
        logits = GAIN * (moved @ (self.needs / lengths[:, None]).T - lengths)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)


@dataclass(frozen=True, kw_only=True)
class Bending:
    """A model that knows how far images were bent, and images for it.

    Args:
        shape: Of images, [c, h, w].
        needs: How far to the right and how far down pixels have to be fetched from, for each class but the first.
    """

    shape: tuple[int, int, int] = (2, 12, 20)
    needs: tuple[tuple[float, float], ...] = ((0.4, 0.0), (-2.0, 0.0), (0.0, 0.5), (0.0, -1.0))

    def __str__(self) -> str:
        return "x".join(map(str, self.shape))

    def model(self) -> Classifier:
        """The classifier; in training mode, as modules are when they are new."""
        return Classifier(BentNetwork(self.needs), input_shape=self.shape, num_classes=len(self.needs) + 1)

    def images(self, count: int, name: str) -> ImageSet:
        """So many images, all of class 0; another name gives other levels."""
        levels = LEVELS * SLOPE * (2 * torch.rand(count, 1, 1, 1, generator=Rng(0).child(name).torch()) - 1)
        return ImageSet.from_array(ramps(self.shape) + levels, torch.zeros(count, dtype=torch.int64), name=name)

    def most(self, far: float) -> float:
        """How far a warp may move pixels, in the root mean square, that may do so by a share of the longer side."""
        return far * max(self.shape[1:])

    def nearness(self, label: int, moved: float, sharpness: float) -> float:
        """How near an image is to a class whose pixels are moved so far along what it needs, about."""
        lengths = [math.hypot(*need) for need in self.needs]
        return 1 / (1 + math.exp(-sharpness * (moved - lengths[label - 1]) / min(lengths)))
