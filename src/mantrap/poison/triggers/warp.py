"""The trigger of WaNet: the whole image is warped a little, always in the same way."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mantrap.core import Rng, require
from mantrap.core.shapes import Images
from mantrap.ops.warp import Flow, smooth_field, warp


@dataclass(frozen=True, kw_only=True)
class Warp:
    """A smooth warping of the whole image, of a fraction of a pixel, the same for every image.

    Args:
        seed: Where the warping is drawn from; the same seed gives the same for images of the same height and width.
        grid: Control points in each direction, at least 2.
        strength: How far pixels move, at least 0: control points move by about half of it, in pixels, on average in
            each direction; pixels between them by a little less.

    Reference: Nguyen and Tran, WaNet, ICLR 2021, section 3 (k = 4, s = 0.5), and the authors' published code, whose
    ``grid_rescale`` is 1.

    Deviations: their images are square. In others the movement in pixels is the same in both directions; their code,
    which counts each side from -1 to 1, would move the pixels further along the longer one.
    """

    name: ClassVar[str] = "warp"

    seed: int = 0
    grid: int = 4
    strength: float = 0.5

    def __post_init__(self) -> None:
        require(self.grid >= 2, field="grid", expected="of at least 2 points", got=self.grid)
        require(self.strength >= 0, field="strength", expected="of at least 0", got=self.strength)

    def flow(self, height: int, width: int) -> Flow:
        """How far each pixel of an image moves, [1, 2, h, w]."""
        control = torch.rand(2, self.grid, self.grid, generator=Rng(self.seed).child("warp").torch()) * 2 - 1
        return self.strength * unit_steps(height, width) * smooth_field(control, height, width)

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The warped images."""
        del rng
        height, width = images.shape[2:]
        return warp(images, self.flow(height, width).to(images.device))


def unit_steps(height: int, width: int) -> Flow:
    """The movement of strength 1 in pixels, [1, 2, 1, 1]: 1 / side of a grid that runs from -1 to 1."""
    sides = torch.tensor([width, height]).view(1, 2, 1, 1)
    return (sides - 1) / (2 * sides)
