"""Attacks that leave every label right: the images of the target class carry the poison."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import require
from mantrap.core.attack import Chosen
from mantrap.core.shapes import Labels
from mantrap.poison.relabellings import AllToOne, indices, require_class


@dataclass(frozen=True, kw_only=True)
class CleanLabel(AllToOne):
    """The poisoned images are of the target class and keep their label, so that nothing looks wrong in the set.

    A poison rate is a share of the target class.

    Args:
        target: The label.

    Reference: Turner, Tsipras and Madry, Label-consistent backdoor attacks, 2019; Barni et al. (SIG), ICIP 2019.
    """

    name: ClassVar[str] = "clean_label"

    def eligible(self, labels: Labels) -> list[int]:
        """Indices of the images of the target class."""
        return indices(labels == self.target)

    def total(self, labels: Labels) -> int:
        """The images of the target class."""
        return int((labels == self.target).sum())


@dataclass(frozen=True, kw_only=True)
class OneImage(CleanLabel):
    """As for a clean label, but aimed at a single image: the first of its class stands for it when success is measured.

    Args:
        target: The label of the poisoned images.
        source: The class of the image that the attack is aimed at.

    Reference: Shafahi et al., Poison Frogs, NeurIPS 2018.
    """

    name: ClassVar[str] = "one_image"

    source: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_class(self.source, "source")
        require(self.source != self.target, field="source", expected="other than the target", got=self.source)

    def attacked(self, labels: Labels) -> Chosen:
        """The first image of the source class."""
        of_class = labels == self.source
        return of_class & (of_class.cumsum(0) == 1)
