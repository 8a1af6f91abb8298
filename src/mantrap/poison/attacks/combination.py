"""Attacks that are combinations of trigger, selection and relabelling."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, spec_of
from mantrap.core.attack import DataAttack, ModelAttack, Poisoned
from mantrap.errors import UsageError
from mantrap.poison.poison import Poison, apply_all


@runtime_checkable
class Combined(DataAttack, Protocol):
    """A data attack that is one or more poisons, so that several can be planted in one set."""

    def parts(self) -> tuple[Poison, ...]:
        """The poisons, in the order in which they are planted."""


class Combination(ABC):
    """The verb of an attack that says its parts."""

    @abstractmethod
    def parts(self) -> tuple[Poison, ...]:
        """The poisons, in the order in which they are planted."""

    def apply(
        self, data: ImageSet, *, model: Classifier | None = None, rng: Rng, progress: Progress = SILENT
    ) -> Poisoned:
        """The poisoned set, and the truth about it; see :func:`mantrap.poison.apply_all`."""
        return apply_all(data, self.parts(), attack=attack_text(self), model=model, rng=rng, progress=progress)


@dataclass(frozen=True)
class Together(Combination):
    """Several attacks in one training set; no image carries two of them. No spec names it: see :func:`combine`."""

    attacks: tuple[Combined, ...]

    name: ClassVar[str] = "together"
    quick: ClassVar[str] = ""

    def parts(self) -> tuple[Poison, ...]:
        """The poisons of the first attack, then those of the next."""
        return tuple(part for attack in self.attacks for part in attack.parts())


def combine(attacks: Sequence[DataAttack | ModelAttack]) -> DataAttack | ModelAttack:
    """Several attacks as one.

    Args:
        attacks: A single one, of any kind; or several that are combinations of trigger, selection and relabelling.

    Raises:
        UsageError: There is none, or one of several is no such combination.
    """
    if len(attacks) == 1:
        return attacks[0]
    combined = [attack for attack in attacks if isinstance(attack, Combined)]
    if not attacks or len(combined) < len(attacks):
        alone = [attack_text(attack) for attack in attacks if not isinstance(attack, Combined)]
        raise UsageError(
            expected="one attack, or several that poison images by trigger, selection and relabelling",
            got=f"{', '.join(alone)} among {len(attacks)}" if alone else "none",
            remedy="Give an attack of another kind alone.",
        )
    return Together(tuple(combined))


def attack_text(attack: object) -> str:
    """What an attack is called in the truth: its spec, or those of several that are planted together."""
    if isinstance(attack, Poison):
        return str(attack)
    return " + ".join(str(spec_of(one)) for one in (attack.attacks if isinstance(attack, Together) else (attack,)))
