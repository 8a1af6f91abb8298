"""How high labels stand by what was measured of them, less what other models explain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mantrap.core import Detection
from mantrap.ops.explained import less_kept, less_ordinary
from mantrap.records import Null, Scatter
from mantrap.records.traits import TRAITS, Trait

Measured: TypeAlias = Sequence[Mapping[str, Mapping[int, float]]]
"""For each detector its traits, by name and label."""


@dataclass(frozen=True)
class Beside:
    """A copy of the model in question that was retrained on clean images.

    Args:
        measured: What the same detectors measured of it.
        null: How models without a backdoor scatter beside such copies.
        unsure: Labels of which the copy says nothing.
    """

    measured: Measured
    null: Null
    unsure: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Halved:
    """A search in which most labels were given up early.

    Args:
        population: Those that were drawn at random and searched to the end whatever they looked like. The others that
            were searched to the end were chosen for how they looked, so labels are compared with these alone.
        labels: All that it began with, whichever stands out.
    """

    population: frozenset[int]
    labels: frozenset[int]


@dataclass(frozen=True)
class Sight:
    """One trait as one detector measured it.

    Args:
        trait: The trait.
        values: What was measured, by label.
        heights: How high labels stand, by label; one whose value has no place on the scale is left out.
        scatter: How such heights scatter in models without a backdoor.
        halved: Which labels ended early; ``None`` where all were searched alike.
    """

    trait: Trait
    values: Mapping[int, float]
    heights: Mapping[int, float]
    scatter: Scatter
    halved: Halved | None = None

    def peers(self, labels: Sequence[int]) -> list[bool] | None:
        """Which of these labels others are compared with; ``None`` for all."""
        return None if self.halved is None else [label in self.halved.population for label in labels]

    def usual(self) -> list[float]:
        """The heights of the labels that others are compared with."""
        return [h for label, h in self.heights.items() if self.halved is None or label in self.halved.population]


def halved_of(detections: Sequence[Detection]) -> list[Halved | None]:
    """For each detection which labels ended early."""
    return [
        None if d.population is None else Halved(frozenset(d.population), frozenset(f.label for f in d.labels))
        for d in detections
    ]


def sights_of(
    measured: Measured, null: Null, references: Sequence[Measured] = (), halved: Sequence[Halved | None] = ()
) -> list[Sight]:
    """All that was measured and that the null knows, in the order of the traits, less what references explain.

    Args:
        measured: What detectors measured of the model.
        null: How models without a backdoor scatter.
        references: What the same detectors measured of models of the same task.
        halved: For each detector which labels ended early; none for searches in which all were searched alike.
    """
    found = []
    for place, name, values, scatter in _known(measured, null):
        others = [heights_of(name, r[place].get(name, {})) for r in references]
        early = halved[place] if halved else None
        found.append(Sight(TRAITS[name], values, *less_ordinary(heights_of(name, values), others, scatter), early))
    return found


def sights_beside(measured: Measured, beside: Beside) -> list[Sight]:
    """The same less what a copy explains; nothing where there is no trait of which it says something."""
    found, some = [], False
    for place, name, values, scatter in _known(measured, beside.null):
        heights = heights_of(name, values)
        copied = heights_of(name, beside.measured[place].get(name, {})) if scatter.kept > 0 else {}
        rest = less_kept(heights, copied, scatter.kept, unsure=beside.unsure)
        some = some or rest is not None
        if rest is not None or scatter.kept <= 0:
            found.append(Sight(TRAITS[name], values, heights if rest is None else rest, scatter))
    return found if some else []


def heights_of(trait: str, values: Mapping[int, float]) -> dict[int, float]:
    """How high labels stand by a trait; those whose value has no place on its scale are left out."""
    height = TRAITS[trait].height
    return {label: found for label, value in values.items() if (found := height(value)) is not None}


def _known(measured: Measured, null: Null) -> list[tuple[int, str, Mapping[int, float], Scatter]]:
    """Each trait that the null knows: whose it is, its name, its values and how it scatters, in the order of traits."""
    found = [
        (place, name, values, scatter)
        for place, by_trait in enumerate(measured)
        for name, values in by_trait.items()
        if name in TRAITS and TRAITS[name].tells(values.values()) and (scatter := null.of(name)) is not None
    ]
    order = list(TRAITS)
    return sorted(found, key=lambda one: order.index(one[1]))
