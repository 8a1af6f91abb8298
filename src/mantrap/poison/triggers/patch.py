"""The trigger of BadNets: a small patch that is always the same."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from mantrap.core import Rng, require
from mantrap.core.shapes import Images, Mask, Pattern
from mantrap.errors import UsageError
from mantrap.poison.triggers.placing import BoxMask, BoxPattern, Placed

_GREYS = {"black": 0.0, "white": 1.0}


@dataclass(frozen=True, kw_only=True)
class Patch(Placed):
    """A patch of one colour, at the same place in every image or at one of each image's own.

    Args:
        colour: ``"white"``, ``"black"``, a grey in [0, 1], or one value in [0, 1] for each channel.
        shape: ``"rectangle"``, or ``"circle"``, whose pixels are those with their centres inside the ellipse that
            touches the sides of the box.

    Reference: Gu et al., BadNets, 2017. Place and margin as in Neural Cleanse's published code: a 4x4 white square that
    leaves one pixel to the lower right edges.
    """

    name: ClassVar[str] = "patch"

    colour: Literal["white", "black"] | float | tuple[float, float, float] = "white"
    shape: Literal["rectangle", "circle"] = "rectangle"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            all(0 <= value <= 1 for value in self._colours),
            field="colour",
            expected="with values in [0, 1]",
            got=self.colour,
        )

    @property
    def _colours(self) -> tuple[float, ...]:
        if isinstance(self.colour, str):
            return (_GREYS[self.colour],)
        return self.colour if isinstance(self.colour, tuple) else (self.colour,)

    def mask_and_pattern(self, shape: tuple[int, int, int]) -> tuple[Mask, Pattern]:
        """Where the patch is (1, else 0), [h, w], and its colour there (0 elsewhere), [c, h, w].

        Raises:
            UsageError: The patch does not fit into images of this shape, or the colour not to their channels, or each
                image has a place of its own.
        """
        if self.place == "random":
            raise UsageError(
                expected="a patch at the same place in every image",
                got="place='random'",
                remedy="Choose a place for the patch.",
            )
        channels, *size = shape
        masks, patterns = self.spread(*self._box(channels), 1, (size[0], size[1]), rng=Rng(0))
        return masks[0, 0], patterns[0]

    def _box(self, channels: int) -> tuple[BoxMask, BoxPattern]:
        """Mask and pattern inside the box."""
        if len(self._colours) not in (1, channels):
            raise UsageError(
                expected=f"a colour of 1 or {channels} values for images of {channels} channels",
                got=f"{self.colour}",
                remedy="Give one value for each channel, or a grey.",
            )
        mask = torch.ones(self.height, self.width)
        if self.shape == "circle":
            # How far the pixels' centres are from the middle, in units of half a side.
            down, right = (((2 * torch.arange(side) + 1) / side - 1).square() for side in mask.shape)
            mask = (down[:, None] + right <= 1).float()
        return mask, mask * torch.tensor(self._colours).expand(channels).view(-1, 1, 1)

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the patch on them."""
        return self.put(images, *self._box(images.shape[1]), rng=rng)
