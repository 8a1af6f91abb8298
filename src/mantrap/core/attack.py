"""The attackers' protocols and results. No defender may import this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from mantrap.core.imageset import ImageSet
from mantrap.core.rng import Rng
from mantrap.core.shapes import Labels
from mantrap.core.trigger import Trigger
from mantrap.core.truth import GroundTruth


@runtime_checkable
class NamedTrigger(Trigger, Protocol):
    """A trigger that a spec string can name."""

    name: ClassVar[str]


@runtime_checkable
class Selection(Protocol):
    """Chooses which images of a training set to poison."""

    name: ClassVar[str]

    def choose(self, labels: Labels, *, eligible: Sequence[int], rng: Rng) -> list[int]:
        """Indices out of ``eligible``, ascending. ``labels`` are those of the whole set."""


@runtime_checkable
class Relabelling(Protocol):
    """Says what label a triggered image shall have."""

    name: ClassVar[str]

    @property
    def target(self) -> int | None:
        """The one label that all triggered images shall have, where there is just one."""

    def eligible(self, labels: Labels) -> list[int]:
        """Indices of the images that this relabelling changes the label of."""

    def relabel(self, labels: Labels, *, num_classes: int) -> Labels:
        """The labels that the triggered images get."""


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set, and the truth about it, which goes another way."""

    data: ImageSet
    truth: GroundTruth
