"""The trigger of Chen et al.: a pattern mixed into the whole image, faintly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Trigger, require
from mantrap.core.shapes import Images, Mask, Pattern
from mantrap.errors import UsageError
from mantrap.ops.stamp import stamp
from mantrap.poison.triggers.artwork import artwork, in_channels

_NOISE = "noise"


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A pattern as large as the image, mixed into all of it, or into some of its pieces drawn for each image.

    A faint pattern is hard to see and yet learned, for it is always the same. With fewer pieces shown than there are,
    training images carry different parts of it, so that they do not cluster by it.

    Args:
        pattern: ``"noise"``, values drawn evenly in [0, 1]; ``"cartoon"``, a drawing of mantrap's own; or the path of
            an image file, stretched to the image's size and left out where it is transparent.
        alpha: Share of the pattern in the mixture, in (0, 1].
        seed: Where the noise is drawn from; means nothing for a picture.
        grid: Rows, and columns, of pieces that the image is cut into.
        pieces_shown: How many of the pieces show the pattern, drawn for each image anew; all of them where it is
            ``grid`` squared.

    Reference: Chen, Liu, Li, Lu and Song, Targeted backdoor attacks on deep learning systems using data poisoning,
    2017 (the blended injection strategy, and the blended accessory injection strategy for pictures that are partly
    transparent); Qi et al., Revisiting the assumption of latent separability for backdoor defenses, ICLR 2023, for the
    pieces.

    Deviations: the cartoon stands where Chen et al. have a figure that is not ours to ship. Where the grid does not
    divide the sides of the image, pieces differ by a pixel; the code of Qi et al. refuses such images.
    """

    name: ClassVar[str] = "blend"

    pattern: str = _NOISE
    alpha: float = 0.2
    seed: int = 0
    grid: int = 4
    pieces_shown: int = 16

    def __post_init__(self) -> None:
        require(
            self.pattern != "", field="pattern", expected="that is noise, cartoon or a picture's path", got=self.pattern
        )
        require(0 < self.alpha <= 1, field="alpha", expected="in (0, 1]", got=self.alpha)
        require(self.grid >= 1, field="grid", expected="of at least 1", got=self.grid)
        require(
            1 <= self.pieces_shown <= self.grid**2,
            field="pieces_shown",
            expected=f"from 1 to {self.grid**2}, which is all",
            got=self.pieces_shown,
        )

    def learn(
        self,
        images: ImageSet,
        *,
        model: Classifier | None,
        target: int | None,
        rng: Rng,
        progress: Progress = SILENT,
    ) -> dict[str, Tensor]:
        """The ``pattern`` [c, h, w], and where it is to be seen, ``mask`` [h, w].

        Raises:
            DataError: The file is no image or is broken, or all of it is transparent.
            MissingDataError: There is no such file.
            UsageError: A picture is for images of 1 or 3 channels, and these have others.
        """
        del model, target, rng, progress
        channels, *size = images.shape
        if self.pattern == _NOISE:
            noise = torch.rand(images.shape, generator=Rng(self.seed).child(_NOISE).torch())
            return {"pattern": noise, "mask": torch.ones(*size)}
        rgba = artwork(self.pattern, (size[0], size[1]))
        return {"pattern": in_channels(rgba[:3], channels), "mask": rgba[3].clone()}

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger that mixes this pattern in."""
        return _Mixed(self, tensors["pattern"], tensors["mask"])

    def pieces(self, count: int, height: int, width: int, *, rng: Rng) -> Float[Tensor, "count 1 h w"]:
        """Where the pattern is to be seen in so many images, 1 in the pieces drawn for each and 0 elsewhere.

        Raises:
            UsageError: The images are too small to be cut into so many pieces.
        """
        if self.grid > min(height, width):
            raise UsageError(
                expected=f"images of at least {self.grid}x{self.grid} pixels for so many pieces",
                got=f"{height}x{width}",
                remedy="Choose a smaller grid.",
            )
        order = torch.rand(count, self.grid**2, generator=rng.torch()).argsort(dim=1)
        shown = torch.zeros(count, self.grid**2).scatter_(1, order[:, : self.pieces_shown], 1.0)
        down, right = (torch.arange(side) * self.grid // side for side in (height, width))
        return shown.view(count, 1, self.grid, self.grid)[:, :, down[:, None], right]


@dataclass(frozen=True, eq=False)
class _Mixed:
    trigger: Blend
    pattern: Pattern
    mask: Mask

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the pattern in them.

        Raises:
            UsageError: The pattern was made for images of another shape.
        """
        if images.shape[1:] != self.pattern.shape:
            raise UsageError(
                expected=f"images of shape {tuple(self.pattern.shape)}, which the pattern was made for",
                got=f"{tuple(images.shape[1:])}",
                remedy="Use it on images like those that it was made for.",
            )
        weight = self.trigger.alpha * self.mask.expand(len(images), 1, -1, -1)
        if self.trigger.pieces_shown < self.trigger.grid**2:
            weight = weight * self.trigger.pieces(len(images), *self.mask.shape, rng=rng)
        return stamp(images, weight.to(images.device), self.pattern.to(images.device))
