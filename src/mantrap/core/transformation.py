"""What is done to images before a model sees them, in the hope that it undoes adversarial changes."""

from typing import ClassVar, Protocol, runtime_checkable

from mantrap.core.rng import Rng
from mantrap.core.shapes import Images


@runtime_checkable
class Transformation(Protocol):
    """Changes images before a model sees them.

    A transformation is a frozen dataclass of settings. One whose gradient says nothing, because it rounds, says so by
    ``smooth = False``: whoever attacks through it takes the gradient of the identity instead. One that draws says so by
    ``random = True``.
    """

    name: ClassVar[str]
    quick: ClassVar[str]
    smooth: ClassVar[bool]
    random: ClassVar[bool]

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images that the model sees, [n, c, h, w] in [0, 1], of the same shape; the ones that come in stay."""
