"""The trigger of BadNets: a small patch that is always the same."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from mantrap.core import Rng, require
from mantrap.core.shapes import Images, Mask, Pattern
from mantrap.errors import UsageError
from mantrap.ops.stamp import stamp

Corner = Literal["bottom_right", "bottom_left", "top_right", "top_left", "center"]
_GREYS = {"black": 0.0, "white": 1.0}


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A rectangle of one colour, at the same place in every image.

    Args:
        size: Side in pixels, or height and width.
        place: A corner, the centre, or row and column of the patch's upper left pixel.
        margin: Pixels between the patch and the edges of its corner.
        colour: ``"white"``, ``"black"``, a grey in [0, 1], or one value in [0, 1] for each channel.

    Reference: Gu et al., BadNets, 2017. Place and margin as in Neural Cleanse's published code: a 4x4 white square that
    leaves one pixel to the lower right edges.
    """

    name: ClassVar[str] = "patch"

    size: int | tuple[int, int] = 4
    place: Corner | tuple[int, int] = "bottom_right"
    margin: int = 1
    colour: Literal["white", "black"] | float | tuple[float, float, float] = "white"

    def __post_init__(self) -> None:
        require(min(self.height, self.width) >= 1, field="size", expected="of at least 1 pixel", got=self.size)
        require(self.margin >= 0, field="margin", expected="of at least 0", got=self.margin)
        if not isinstance(self.place, str):
            require(min(self.place) >= 0, field="place", expected="inside the image", got=self.place)
        require(
            all(0 <= value <= 1 for value in self._colours),
            field="colour",
            expected="with values in [0, 1]",
            got=self.colour,
        )

    @property
    def height(self) -> int:
        """Rows of the patch."""
        return self.size if isinstance(self.size, int) else self.size[0]

    @property
    def width(self) -> int:
        """Columns of the patch."""
        return self.size if isinstance(self.size, int) else self.size[1]

    @property
    def _colours(self) -> tuple[float, ...]:
        if isinstance(self.colour, str):
            return (_GREYS[self.colour],)
        return self.colour if isinstance(self.colour, tuple) else (self.colour,)

    def mask_and_pattern(self, shape: tuple[int, int, int]) -> tuple[Mask, Pattern]:
        """Where the patch is (1, else 0), [h, w], and its colour there (0 elsewhere), [c, h, w].

        Raises:
            UsageError: The patch does not fit into images of this shape, or the colour not to their channels.
        """
        channels, height, width = shape
        row, column = self._corner(height, width)
        if row < 0 or column < 0 or row + self.height > height or column + self.width > width:
            raise UsageError(
                expected=f"a patch that fits into {height}x{width} pixels",
                got=f"{self.height}x{self.width} at row {row}, column {column}",
                remedy="Choose a smaller size or margin, or another place.",
            )
        if len(self._colours) not in (1, channels):
            raise UsageError(
                expected=f"a colour of 1 or {channels} values for images of {channels} channels",
                got=f"{self.colour}",
                remedy="Give one value for each channel, or a grey.",
            )
        inside = (slice(row, row + self.height), slice(column, column + self.width))
        mask, pattern = torch.zeros(height, width), torch.zeros(channels, height, width)
        mask[inside] = 1.0
        pattern[(slice(None), *inside)] = torch.tensor(self._colours).view(-1, 1, 1)
        return mask, pattern

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        if not isinstance(self.place, str):
            return self.place
        if self.place == "center":
            return (height - self.height) // 2, (width - self.width) // 2
        vertical, horizontal = self.place.split("_")
        row = self.margin if vertical == "top" else height - self.margin - self.height
        column = self.margin if horizontal == "left" else width - self.margin - self.width
        return row, column

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the patch on them."""
        del rng
        _, channels, height, width = images.shape
        mask, pattern = self.mask_and_pattern((channels, height, width))
        return stamp(images, mask.to(images.device), pattern.to(images.device))
