"""A random size and place."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import interpolate, pad

from mantrap.core import Rng, require
from mantrap.core.shapes import Images


@dataclass(frozen=True, kw_only=True)
class RandomResize:
    """Make every image a little smaller, by a share that is drawn, and put it somewhere on a black ground.

    All images of a batch get the same size and place.

    Args:
        least: Smallest size, as a share of the image's.

    Reference: Xie et al., Mitigating Adversarial Effects Through Randomization, ICLR 2018, section 3.

    Deviations: the paper enlarges images of 299 pixels to up to 331 and pads to that; a network of a fixed size cannot
    take larger ones, so ours become smaller.
    """

    name: ClassVar[str] = "random_resize"
    quick: ClassVar[str] = "random_resize(least=0.5)"
    smooth: ClassVar[bool] = True
    random: ClassVar[bool] = True
    least: float = 0.8

    def __post_init__(self) -> None:
        require(0 < self.least <= 1, field="least", expected="above 0 and of at most 1", got=self.least)

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """See :class:`~mantrap.core.Transformation`."""
        share, left, above = torch.rand(3, generator=rng.torch()).tolist()
        share = self.least + (1 - self.least) * share
        height, width = (max(1, round(share * side)) for side in images.shape[2:])
        small = interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=True)
        before, over = round(left * (images.shape[3] - width)), round(above * (images.shape[2] - height))
        return pad(small, (before, images.shape[3] - width - before, over, images.shape[2] - height - over))
