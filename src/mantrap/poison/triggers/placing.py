"""Where in an image a small trigger lies: in a corner, at a given place, or at a place of each image's own."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mantrap.core import Rng, require
from mantrap.core.shapes import Images
from mantrap.errors import UsageError
from mantrap.ops.paste import paste
from mantrap.ops.stamp import stamp

Place = Literal["bottom_right", "bottom_left", "top_right", "top_left", "center", "random"] | tuple[int, int]
BoxMask = Float[Tensor, "s t"]
BoxPattern = Float[Tensor, "c s t"]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A trigger that lies in a box somewhere in the image.

    Args:
        size: Side of the box in pixels, or height and width.
        place: A corner, the centre, row and column of the box's upper left pixel, or ``"random"``: drawn for each image
            anew, evenly among all places where it fits.
        margin: Pixels between the box and the edges of its corner; for a random place, the least to any edge.
    """

    name: ClassVar[str]

    size: int | tuple[int, int] = 4
    place: Place = "bottom_right"
    margin: int = 1

    def __post_init__(self) -> None:
        require(min(self.height, self.width) >= 1, field="size", expected="of at least 1 pixel", got=self.size)
        require(self.margin >= 0, field="margin", expected="of at least 0", got=self.margin)
        if not isinstance(self.place, str):
            require(min(self.place) >= 0, field="place", expected="inside the image", got=self.place)

    @property
    def height(self) -> int:
        """Rows of the box."""
        return self.size if isinstance(self.size, int) else self.size[0]

    @property
    def width(self) -> int:
        """Columns of the box."""
        return self.size if isinstance(self.size, int) else self.size[1]

    def corners(self, count: int, height: int, width: int, *, rng: Rng) -> Int64[Tensor, "count 2"]:
        """Row and column of the box's upper left pixel in so many images of this size, [count, 2].

        Raises:
            UsageError: The box does not fit into them.
        """
        rows, columns = self._between(height, width)
        for (first, last), side, room in ((rows, self.height, height), (columns, self.width, width)):
            if not 0 <= first <= last <= room - side:
                raise UsageError(
                    expected=f"a {self.name} that fits into {height}x{width} pixels",
                    got=f"{self.height}x{self.width} at row {rows[0]}, column {columns[0]}, margin {self.margin}",
                    remedy="Choose a smaller size or margin, or another place.",
                )
        generator = rng.torch()
        drawn = [torch.randint(first, last + 1, (count,), generator=generator) for first, last in (rows, columns)]
        return torch.stack(drawn, dim=1)

    def put(self, images: Images, mask: BoxMask, pattern: BoxPattern, *, rng: Rng) -> Images:
        """The images with a pattern in the box, through a mask in [0, 1] of the box's size."""
        count = len(images) if self.place == "random" else 1
        masks, patterns = self.spread(mask, pattern, count, (images.shape[2], images.shape[3]), rng=rng)
        return stamp(images, masks.to(images.device), patterns.to(images.device))

    def spread(
        self, mask: BoxMask, pattern: BoxPattern, count: int, size: tuple[int, int], *, rng: Rng
    ) -> tuple[Float[Tensor, "count 1 h w"], Float[Tensor, "count c h w"]]:
        """Mask and pattern in so many images of this height and width; outside the box both are 0."""
        box = torch.cat([mask[None], pattern]).expand(count, -1, -1, -1)
        sheets = paste(torch.zeros(count, box.shape[1], *size), box, self.corners(count, *size, rng=rng))
        return sheets[:, :1], sheets[:, 1:]

    def _between(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """First and last row, first and last column that the upper left pixel may have."""
        low, right = height - self.margin - self.height, width - self.margin - self.width
        if not isinstance(self.place, str):
            row, column = self.place
        elif self.place == "random":
            return (self.margin, low), (self.margin, right)
        elif self.place == "center":
            row, column = (height - self.height) // 2, (width - self.width) // 2
        else:
            row = self.margin if self.place.startswith("top") else low
            column = self.margin if self.place.endswith("left") else right
        return (row, row), (column, column)
