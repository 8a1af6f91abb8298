"""Changes to training images that leave their class as it is."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch.nn.functional import affine_grid, grid_sample

from mantrap.core import Registry, require
from mantrap.core.shapes import Images


class Augmentation(Protocol):
    """A random change of a batch of training images."""

    name: ClassVar[str]

    def __call__(self, images: Images, *, generator: torch.Generator) -> Images:
        """The changed batch, [n, c, h, w] in [0, 1]; ``generator`` lives on the CPU."""


@dataclass(frozen=True, kw_only=True)
class NoAugmentation:
    """The images as they are."""

    name: ClassVar[str] = "none"

    def __call__(self, images: Images, *, generator: torch.Generator) -> Images:
        """The batch itself."""
        del generator
        return images


@dataclass(frozen=True, kw_only=True)
class Affine:
    """Turn, shift and scale each image at random; what comes in from outside repeats the border.

    There is no mirror image here: a mirrored sign or digit is another class.

    Args:
        degrees: Largest turn to either side.
        shift: Largest shift, as a share of the side.
        scale: Largest change of size, as a share; 0.1 gives 0.9 to 1.1.
    """

    name: ClassVar[str] = "affine"
    degrees: float = 10.0
    shift: float = 0.1
    scale: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.degrees <= 180, field="degrees", expected="in [0, 180]", got=self.degrees)
        require(0 <= self.shift <= 0.5, field="shift", expected="in [0, 0.5]", got=self.shift)
        require(0 <= self.scale < 1, field="scale", expected="in [0, 1)", got=self.scale)

    def __call__(self, images: Images, *, generator: torch.Generator) -> Images:
        """Each image under a map of its own, sampled bilinearly."""
        draws = torch.rand(len(images), 4, generator=generator).to(images.device) * 2 - 1
        angle = draws[:, 0] * math.radians(self.degrees)
        size = 1 / (1 + draws[:, 1] * self.scale)
        matrix = torch.zeros(len(images), 2, 3, device=images.device)
        matrix[:, 0, 0] = matrix[:, 1, 1] = torch.cos(angle) * size
        # The grid measures each side from -1 to 1, so a turn of the pixels turns the grid only in square images.
        height, width = images.shape[2:]
        matrix[:, 0, 1] = -torch.sin(angle) * size * (height / width)
        matrix[:, 1, 0] = torch.sin(angle) * size * (width / height)
        matrix[:, :, 2] = draws[:, 2:] * 2 * self.shift
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        return grid_sample(images, grid, padding_mode="border", align_corners=False).clamp(0, 1)


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation", [NoAugmentation, Affine])
