"""The trigger of a Trojan attack: a pattern through a mask, more or less transparent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mantrap.core import Rng, Trigger, require
from mantrap.core.shapes import Images, Mask, Pattern
from mantrap.ops.stamp import stamp


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """A pattern that was made for a model, shown through a mask, at the same place in every image.

    Mask and pattern come out of the attack that makes them, such as the Trojan attack.

    Args:
        transparency: How much of the image shows through, in [0, 1).

    Reference: Liu et al., Trojaning attack on neural networks, NDSS 2018, section VI-C.
    """

    name: ClassVar[str] = "overlay"

    transparency: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.transparency < 1, field="transparency", expected="in [0, 1)", got=self.transparency)

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger of a ``mask`` [h, w] and a ``pattern`` [c, h, w]."""
        return _Shown(tensors["mask"] * (1 - self.transparency), tensors["pattern"])


@dataclass(frozen=True, eq=False)
class _Shown:
    mask: Mask
    pattern: Pattern

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the pattern on them."""
        del rng
        return stamp(images, self.mask.to(images.device), self.pattern.to(images.device))
