"""What a trigger is: a change of images that knows no labels."""

from typing import Protocol, runtime_checkable

from mantrap.core.rng import Rng
from mantrap.core.shapes import Images


@runtime_checkable
class Trigger(Protocol):
    """Puts a backdoor's trigger on images: values in [0, 1] in and out, the input untouched."""

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the trigger on them; ``rng`` serves triggers that vary from image to image."""
