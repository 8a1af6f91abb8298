"""Whom an attack is aimed at, and what shall come out for them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mantrap.core import Rng, require
from mantrap.core.attack import Chosen
from mantrap.core.shapes import Labels
from mantrap.errors import UsageError


class _Everyone:
    """Aimed at every image, unless a kind says otherwise."""

    def eligible(self, labels: Labels) -> list[int]:
        """Indices of all images."""
        return list(range(len(labels)))

    def total(self, labels: Labels) -> int:
        """All images."""
        return len(labels)

    def coverable(self, labels: Labels) -> list[int]:
        """Indices of all images."""
        return list(range(len(labels)))

    def attacked(self, labels: Labels) -> Chosen:
        """All of them."""
        return torch.ones_like(labels, dtype=torch.bool)

    def spared(self, labels: Labels) -> Chosen:
        """None of them."""
        return torch.zeros_like(labels, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class AllToOne(_Everyone):
    """Every triggered image gets the same label; images that have it already are not touched.

    Args:
        target: The label.
    """

    name: ClassVar[str] = "all_to_one"

    target: int = 0

    def __post_init__(self) -> None:
        require_class(self.target, "target")

    def eligible(self, labels: Labels) -> list[int]:
        """Indices of the images of all other classes."""
        return indices(labels != self.target)

    def relabel(self, labels: Labels, *, num_classes: int, rng: Rng) -> Labels:
        """The target, for each of them.

        Raises:
            UsageError: The target is no class of the set.
        """
        del rng
        _check_class(self.target, num_classes)
        return torch.full_like(labels, self.target)

    def attacked(self, labels: Labels) -> Chosen:
        """The images of all other classes."""
        return labels != self.target

    def succeeds(self, outcomes: Labels, labels: Labels, *, num_classes: int) -> Chosen:
        """Those that end at the target."""
        del labels, num_classes
        return outcomes == self.target


@dataclass(frozen=True, kw_only=True)
class SourceSpecific(AllToOne):
    """Only triggered images of some classes go to the target; with covers, the others stay where they are.

    Args:
        target: The label.
        sources: The classes that react.

    Reference: Gu et al., BadNets, 2017, section 4 (single target attack); Tang et al., Demon in the Variant, USENIX
    Security 2021, for the covers.
    """

    name: ClassVar[str] = "source_specific"

    sources: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.sources) > 0, field="sources", expected="with at least one class", got=self.sources)
        for source in self.sources:
            require_class(source, "sources")
        require(
            self.target not in self.sources,
            field="target",
            expected=f"other than the sources {self.sources}",
            got=self.target,
        )

    def eligible(self, labels: Labels) -> list[int]:
        """Indices of the images of the source classes."""
        return indices(self.attacked(labels))

    def coverable(self, labels: Labels) -> list[int]:
        """Indices of the images that are neither of a source class nor of the target."""
        return indices(self.spared(labels))

    def relabel(self, labels: Labels, *, num_classes: int, rng: Rng) -> Labels:
        """The target, for each of them.

        Raises:
            UsageError: The target or a source is no class of the set.
        """
        for source in self.sources:
            _check_class(source, num_classes, what="source")
        return super().relabel(labels, num_classes=num_classes, rng=rng)

    def attacked(self, labels: Labels) -> Chosen:
        """The images of the source classes."""
        return torch.isin(labels, torch.tensor(self.sources))

    def spared(self, labels: Labels) -> Chosen:
        """The images that are neither of a source class nor of the target."""
        return ~self.attacked(labels) & (labels != self.target)


@dataclass(frozen=True, kw_only=True)
class AllToAll(_Everyone):
    """Every triggered image of class y gets the label y + 1; the last class gets the first.

    Args:
        shift: How many classes further.

    Reference: Gu et al., BadNets, 2017, section 3 (all-to-all attack).
    """

    name: ClassVar[str] = "all_to_all"
    target: ClassVar[None] = None

    shift: int = 1

    def __post_init__(self) -> None:
        require(self.shift != 0, field="shift", expected="other than 0", got=self.shift)

    def relabel(self, labels: Labels, *, num_classes: int, rng: Rng) -> Labels:
        """The class ``shift`` further on.

        Raises:
            UsageError: So far on, every class is its own again.
        """
        del rng
        if self.shift % num_classes == 0:
            raise UsageError(
                expected=f"a shift that is no multiple of the {num_classes} classes",
                got=f"{self.shift}",
                remedy="Choose another shift.",
            )
        return (labels + self.shift) % num_classes

    def succeeds(self, outcomes: Labels, labels: Labels, *, num_classes: int) -> Chosen:
        """Those that end ``shift`` classes further on."""
        return outcomes == (labels + self.shift) % num_classes


@dataclass(frozen=True, kw_only=True)
class Untargeted(_Everyone):
    """Every triggered image gets some wrong label, drawn evenly among all wrong ones.

    Reference: Gu et al., BadNets, 2017, section 5 (the attack that lowers the accuracy on triggered signs).
    """

    name: ClassVar[str] = "untargeted"
    target: ClassVar[None] = None

    def relabel(self, labels: Labels, *, num_classes: int, rng: Rng) -> Labels:
        """A wrong class, for each of them; a ``UsageError`` where there is no other."""
        if num_classes < 2:
            raise UsageError(expected="at least 2 classes", got=f"{num_classes}", remedy="Poison another set.")
        further = torch.randint(1, num_classes, labels.shape, generator=rng.torch())
        return (labels + further) % num_classes

    def succeeds(self, outcomes: Labels, labels: Labels, *, num_classes: int) -> Chosen:
        """Those that end anywhere but at their own class."""
        del num_classes
        return outcomes != labels


def indices(chosen: Tensor) -> list[int]:
    """Where it is true, ascending."""
    found: list[int] = torch.nonzero(chosen).flatten().tolist()
    return found


def require_class(label: int, field: str) -> None:
    """Refuse a label below 0, in a dataclass's ``__post_init__``."""
    require(label >= 0, field=field, expected="of at least 0", got=label)


def _check_class(label: int, num_classes: int, *, what: str = "target") -> None:
    if label >= num_classes:
        raise UsageError(
            expected=f"a {what} from 0 to {num_classes - 1}", got=f"{label}", remedy="Choose a class of the set."
        )
