"""The user's own picture as a trigger: a logo, a sticker, a pair of glasses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Trigger, require
from mantrap.core.shapes import Images
from mantrap.poison.triggers.artwork import CARTOON, artwork, in_channels
from mantrap.poison.triggers.placing import Placed


@dataclass(frozen=True, kw_only=True)
class Picture(Placed):
    """A small picture on the image; where it is transparent, the image shows through.

    The pixels are read once, before the poisoning, and kept beside the truth, so that the file may change or go.
    Grey images get the picture's luminance.

    Args:
        size: Side of the picture in the image in pixels, or height and width; it is stretched to that.
        file: Path of a PNG or another image file; ``"cartoon"`` is a drawing of mantrap's own.
        opacity: How much of the image the picture hides where it is not transparent, in (0, 1].

    Reference: Gu et al., BadNets, 2017, section 5 (a sticker with a bomb or a flower on traffic signs); Chen et al.,
    Targeted backdoor attacks on deep learning systems using data poisoning, 2017 (the accessory injection strategy).
    """

    name: ClassVar[str] = "picture"

    size: int | tuple[int, int] = 8
    file: str = CARTOON
    opacity: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.file != "", field="file", expected="with the path of a picture", got=self.file)
        require(0 < self.opacity <= 1, field="opacity", expected="in (0, 1]", got=self.opacity)

    def learn(
        self,
        images: ImageSet,
        *,
        model: Classifier | None,
        target: int | None,
        rng: Rng,
        progress: Progress = SILENT,
    ) -> dict[str, Tensor]:
        """The picture at its size, ``rgba`` [4, s, t].

        Raises:
            DataError: The file is no image or is broken, or all of it is transparent.
            MissingDataError: There is no such file.
        """
        del images, model, target, rng, progress
        return {"rgba": artwork(self.file, (self.height, self.width))}

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger that shows these pixels."""
        return _Shown(self, tensors["rgba"])


@dataclass(frozen=True, eq=False)
class _Shown:
    trigger: Picture
    rgba: Float[Tensor, "4 s t"]

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the picture on them.

        Raises:
            UsageError: The picture does not fit into the images, or they have other than 1 or 3 channels.
        """
        pattern = in_channels(self.rgba[:3], images.shape[1])
        return self.trigger.put(images, self.trigger.opacity * self.rgba[3], pattern, rng=rng)
