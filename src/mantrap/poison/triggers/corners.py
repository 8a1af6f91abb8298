"""The trigger of the label-consistent attack: a small pattern of light and dark in the corners."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from mantrap.core import Rng, require
from mantrap.core.shapes import Images, Pattern
from mantrap.errors import UsageError
from mantrap.ops.projections import onto_box

_SIGNS = ((-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, -1.0, 1.0))
_SIDE = len(_SIGNS)


@dataclass(frozen=True, kw_only=True)
class Corners:
    """A pattern of 3x3 lighter and darker pixels in one corner or in all four, as strong as is wished.

    At full strength the pixels are white and black; at less they are so much lighter and darker than they were, so
    that a faint one is hard to see. In all four corners it survives a mirroring of the image, for the left ones are
    the mirror image of the right ones.

    Args:
        where: ``"all"`` or ``"bottom_right"``.
        amplitude: What is added to the light pixels and taken from the dark ones, in (0, 1].

    Reference: Turner, Tsipras and Madry, Label-Consistent Backdoor Attacks, 2019, section 4.4 (16, 32 and 64 of 255 as
    reduced amplitudes), and the authors' published code for the pattern.
    """

    name: ClassVar[str] = "corners"

    where: Literal["all", "bottom_right"] = "all"
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.amplitude <= 1, field="amplitude", expected="in (0, 1]", got=self.amplitude)

    def change(self, shape: tuple[int, int, int]) -> Pattern:
        """What is added to an image of this shape before its values are clipped, [c, h, w].

        Raises:
            UsageError: The corners do not fit into it, or overlap.
        """
        _, height, width = shape
        least = 2 * _SIDE if self.where == "all" else _SIDE
        if min(height, width) < least:
            raise UsageError(
                expected=f"images of at least {least}x{least} pixels for a pattern of {_SIDE}x{_SIDE} in the corners",
                got=f"{height}x{width}",
                remedy="Choose another trigger, or larger images.",
            )
        signs, added = torch.tensor(_SIGNS), torch.zeros(shape)
        added[:, -_SIDE:, -_SIDE:] = signs
        if self.where == "all":
            added[:, :_SIDE, -_SIDE:] = signs
            added[:, :_SIDE, :_SIDE] = added[:, -_SIDE:, :_SIDE] = signs.flip(1)
        return self.amplitude * added

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the pattern on them."""
        del rng
        _, channels, height, width = images.shape
        return onto_box(images + self.change((channels, height, width)).to(images.device))
