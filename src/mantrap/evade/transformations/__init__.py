"""Input transformations: defences that change images before a model sees them."""

from typing import Final

from mantrap.core import Registry, Transformation
from mantrap.evade.transformations.bit_depth import BitDepth
from mantrap.evade.transformations.blur import Blur
from mantrap.evade.transformations.jpeg import Jpeg
from mantrap.evade.transformations.random_resize import RandomResize

TRANSFORMATIONS: Final[Registry[Transformation]] = Registry("transformation", [Jpeg, BitDepth, Blur, RandomResize])

__all__ = ["TRANSFORMATIONS", "BitDepth", "Blur", "Jpeg", "RandomResize"]
