"""The trigger of attacks that have none."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import Rng
from mantrap.core.shapes import Images


@dataclass(frozen=True, kw_only=True)
class NoTrigger:
    """No trigger at all: images stay as they are.

    Poisoning that is no backdoor, such as flipped labels, is written down with it. Its success is then measured on
    plain test images: how often they come out as the attacker wants.
    """

    name: ClassVar[str] = "no_trigger"

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images as they are."""
        del rng
        return images.clone()
