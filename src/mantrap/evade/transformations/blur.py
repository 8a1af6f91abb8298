"""A Gaussian blur."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from mantrap.core import Rng, require
from mantrap.core.shapes import Images

_FAR = 3
"""Standard deviations to which the weights reach."""


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Blur every image, so that changes from pixel to pixel even out.

    Args:
        sigma: Standard deviation of the Gaussian, in pixels.
    """

    name: ClassVar[str] = "blur"
    quick: ClassVar[str] = "blur(sigma=0.5)"
    smooth: ClassVar[bool] = True
    random: ClassVar[bool] = False
    sigma: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.sigma <= 100, field="sigma", expected="above 0 and of at most 100 pixels", got=self.sigma)

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """See :class:`~mantrap.core.Transformation`; beyond the edge an image goes on as at the edge."""
        del rng
        weights = _weights(self.sigma).to(images)
        reach, channels = len(weights) // 2, images.shape[1]
        wide = pad(images, (reach, reach, reach, reach), mode="replicate")
        across = conv2d(wide, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
        return conv2d(across, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _weights(sigma: float) -> Tensor:
    """Of the pixels from left to right, 1 in sum."""
    reach = max(1, math.ceil(_FAR * sigma))
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    bell = torch.exp(-places.square() / (2 * sigma**2))
    return bell / bell.sum()
