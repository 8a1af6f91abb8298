"""Attacks that are combinations of trigger, selection and relabelling."""

from typing import Protocol, runtime_checkable

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, spec_of
from mantrap.core.attack import DataAttack, Poisoned
from mantrap.poison.poison import Poison, apply_all


@runtime_checkable
class Combined(DataAttack, Protocol):
    """A data attack that is one or more poisons, so that several can be planted in one set."""

    def parts(self) -> tuple[Poison, ...]:
        """The poisons, in the order in which they are planted."""


class Combination:
    """The verb of an attack that says its parts."""

    def parts(self) -> tuple[Poison, ...]:
        """The poisons, in the order in which they are planted."""
        raise NotImplementedError

    def apply(
        self, data: ImageSet, *, model: Classifier | None = None, rng: Rng, progress: Progress = SILENT
    ) -> Poisoned:
        """The poisoned set, and the truth about it; see :func:`mantrap.poison.apply_all`."""
        return apply_all(data, self.parts(), attack=str(spec_of(self)), model=model, rng=rng, progress=progress)
