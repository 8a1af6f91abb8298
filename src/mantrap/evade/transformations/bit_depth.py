"""Fewer grey levels."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import Rng, require
from mantrap.core.shapes import Images


@dataclass(frozen=True, kw_only=True)
class BitDepth:
    """Round every value to one of few levels, so that small changes are rounded away.

    Args:
        bits: Two to the power of these levels are left, black and white among them.

    Reference: Xu et al., Feature Squeezing, NDSS 2018, section III.A.
    """

    name: ClassVar[str] = "bit_depth"
    quick: ClassVar[str] = "bit_depth(bits=2)"
    smooth: ClassVar[bool] = False
    random: ClassVar[bool] = False
    bits: int = 3

    def __post_init__(self) -> None:
        require(1 <= self.bits <= 8, field="bits", expected="from 1 to 8", got=self.bits)

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """See :class:`~mantrap.core.Transformation`."""
        del rng
        highest: int = 2**self.bits - 1
        return (images.clamp(0, 1) * highest).round() / highest  # a file holds no others
