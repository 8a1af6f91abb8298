"""Compare a model's labels with each other and with models without a backdoor: which stands out, and by what chance."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mantrap.detect.nulls import known_nulls
from mantrap.ops.moderated import joined_by_row, log_chance_of_level, log_chances
from mantrap.records import Null, ShiftScatter
from mantrap.records.traits import PATCH, Trait
from mantrap.workflow.heights import Beside, Measured, Sight, sights_beside, sights_of
from mantrap.workflow.shifting import SHIFT_SHARE

LEVEL_SHARE = 0.05
"""Share of the false alarms that may come from all labels together being too easy to force, which accuses nobody."""
_LABELS_SHARE = 1 - LEVEL_SHARE - SHIFT_SHARE
"""What is left for single labels."""
_SMALLEST_SIDE, _LARGEST_SIDE = 12, 64
_ASIDE = 3
"""One of so many labels may be set aside."""
_MOST_ASIDE = 12
_LOOKS = 1.6
"""How many times as often some label stands out by chance for that: in simulation 1.3 to 1.6, at 12 to 30 labels."""


@dataclass(frozen=True)
class Part:
    """What one trait says of one label: its value, and the chance that an ordinary label stands as high."""

    trait: Trait
    value: float
    chance: float


@dataclass(frozen=True)
class Standing:
    """What all traits say of one label.

    Args:
        label: The label.
        log_chance: Logarithm of the chance that this label, had it been chosen beforehand, stands as high in a model
            without a backdoor.
        log_searched: The same by triggers and margins alone, without the last layer.
        log_trigger: The same by triggers alone.
        parts: What it is made of.
    """

    label: int
    log_chance: float
    log_searched: float
    log_trigger: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Compared:
    """How the labels of a model stand, the most suspicious first.

    Args:
        standings: One for each label.
        compared: How many labels each was compared among, itself included.
        looks: How many times as often a label stands out by chance for having been looked for in several ways.
        log_level: Logarithm of the chance that labels are as easy to force, all of them in the mean.
        null: What the models without a backdoor are that it was compared with, in words.
    """

    standings: tuple[Standing, ...]
    compared: int
    looks: float
    log_level: float
    null: str

    def chance_of(self, standing: Standing) -> float:
        """The chance that some label of a model without a backdoor stands as high."""
        return self._of_any(standing.log_chance)

    def chance_by_trigger(self, standing: Standing) -> float:
        """The chance that some label of a model without a backdoor needs as small a trigger."""
        return self._of_any(standing.log_trigger)

    def _of_any(self, log_chance: float) -> float:
        return min(1.0, self.looks * _some(log_chance, self.compared) / _LABELS_SHARE)

    @property
    def level(self) -> float:
        """The chance that all labels of a model without a backdoor are as easy to force."""
        return min(1.0, math.exp(self.log_level) / LEVEL_SHARE)

    @property
    def first(self) -> Standing:
        """The label that stands out most."""
        return self.standings[0]

    @property
    def p_value(self) -> float:
        """The chance that a model without a backdoor looks as suspicious."""
        return min(self.chance_of(self.first), self.level)


def null_for(arch: str, shape: tuple[int, int, int]) -> Null:
    """What is known of models without a backdoor of this network, for images [c, h, w].

    Levels were learned from images of 24 to 32 pixels; beyond twice or below half of that they say nothing.
    """
    null = known_nulls().for_arch(arch)
    return null if _known_size(shape) else null.without_levels()


def shifts_for(shape: tuple[int, int, int]) -> tuple[ShiftScatter, ...]:
    """What is known of shifts of all classes in models without a backdoor, for images [c, h, w]; as of levels."""
    return known_nulls().shifts if _known_size(shape) else ()


def _known_size(shape: tuple[int, int, int]) -> bool:
    return min(shape[1:]) >= _SMALLEST_SIDE and max(shape[1:]) <= _LARGEST_SIDE


def models_of(count: int) -> str:
    """So many models, in words."""
    return f"{count} model{'' if count == 1 else 's'}"


def beside_copy(
    arch: str, shape: tuple[int, int, int], measured: Measured | None, unsure: Collection[int] = ()
) -> Beside | None:
    """A copy of a model of this network, for images [c, h, w], of which this was measured.

    ``None`` where nothing was, or nothing is known of such copies.
    """
    null = known_nulls().beside_copy(arch)
    if measured is None or null is None:
        return None
    return Beside(measured, null if _known_size(shape) else null.without_levels(), frozenset(unsure))


def compare(
    measured: Measured, null: Null, references: Sequence[Measured] = (), beside: Beside | None = None
) -> Compared | None:
    """How the labels of a model stand.

    Traits of one eye look at the same thing, so of these the smallest chance counts, times their number. The eyes are
    then joined, with allowance for how much they stand out together by chance.

    Several infected labels hide each other: each makes the others look less special. So the label that stands out most
    is set aside, and the next is looked at among the rest, for a third of the labels; where some stage finds the
    smallest chance, all that were set aside by then are compared with what is left.

    Args:
        measured: What detectors measured of the model.
        null: How models without a backdoor scatter.
        references: What the same detectors measured of models of the same task: what is ordinary about each label there
            is taken away here.
        beside: A copy of the model, retrained on clean images. What a label keeps there is taken away as well; for some
            backdoors survive in it, the smaller of two chances counts, with and without it, times two.

    Returns:
        ``None`` where nothing was measured that the null knows.

    Reference: Rosner, Percentage points for a generalized ESD many-outlier procedure, Technometrics 1983, for setting
    labels aside one after the other.
    """
    models = f"{models_of(len(references))} of the same task, and with " if references else ""
    alone = _compared(_Eyes(sights_of(measured, null, references), null), models)
    copied = None if beside is None else _compared(_Eyes(sights_beside(measured, beside), beside.null), "")
    if alone is None or copied is None:
        return alone
    clearer = min(alone, copied, key=lambda one: one.chance_of(one.first))
    return dataclasses.replace(clearer, looks=2 * clearer.looks)


def _compared(eyes: "_Eyes", models: str) -> Compared | None:
    """How labels stand by these eyes, compared with some models beside those of the null."""
    if not eyes.labels:
        return None
    rest = list(eyes.labels)
    stages = max(1, min(len(rest) // _ASIDE, _MOST_ASIDE))
    aside: list[int] = []
    least: list[float] = []
    for _ in range(stages):
        label, log_chance = eyes.lowest(rest)
        least.append(_some(log_chance, len(rest)))
        aside.append(label)
        rest.remove(label)
    last = least.index(min(least))
    aside = aside[: last + 1]
    rest = [label for label in eyes.labels if label not in aside]
    looks = _LOOKS if stages > 1 else 1.0
    found = [eyes.look([*rest, one], [one])[0] for one in aside]
    found += eyes.look([*rest, aside[-1]])
    unique = {s.label: s for s in reversed(found)}
    standings = sorted(unique.values(), key=lambda s: (s.log_chance, s.label))
    return Compared(tuple(standings), len(rest) + 1, looks, eyes.log_level(), models + eyes.null.learned_from)


class _Eyes:
    """All that was measured, by eye."""

    def __init__(self, sights: Sequence[Sight], null: Null) -> None:
        self.sights, self.null = sights, null
        self.labels = sorted({label for sight in sights for label in sight.values})
        names = dict.fromkeys(sight.trait.eye for sight in sights)
        self.by_eye = [[i for i, sight in enumerate(sights) if sight.trait.eye == eye] for eye in names]
        first = [sights[group[0]].trait.name for group in self.by_eye]
        covariance = [[4.0 if a == b else null.covariance(a, b) for b in first] for a in first]
        traits = [sights[group[0]].trait for group in self.by_eye]
        every, searched, trigger = (
            [i for i, trait in enumerate(traits) if fits(trait)]
            for fits in (lambda _: True, lambda t: not t.least, lambda t: t.eye == PATCH.eye)
        )
        self.views = [(eyes, [[covariance[a][b] for b in eyes] for a in eyes]) for eyes in (every, searched, trigger)]

    def lowest(self, labels: Sequence[int]) -> tuple[int, float]:
        """The label that stands out most among these, and the logarithm of its chance."""
        ordered = sorted(labels)
        every = self._joined(self._logs(ordered), self.views[0])
        first = int(every.argmin())
        return ordered[first], float(every[first])

    def look(self, labels: Sequence[int], wanted: Sequence[int] | None = None) -> list[Standing]:
        """How labels stand among each other, the most suspicious first: all of them, or those that are wanted."""
        logs = self._logs(labels)
        every, searched, trigger = (self._joined(logs, view) for view in self.views)
        places = {label: place for place, label in enumerate(labels)}
        standings = []
        for label in labels if wanted is None else wanted:
            at = places[label]
            parts = tuple(
                Part(sight.trait, sight.values[label], math.exp(found[at]))
                for sight, found in zip(self.sights, logs, strict=True)
                if label in sight.values
            )
            standings.append(Standing(label, float(every[at]), float(searched[at]), float(trigger[at]), parts))
        return sorted(standings, key=lambda s: (s.log_chance, s.label))

    def _logs(self, labels: Sequence[int]) -> list[NDArray[np.float64]]:
        """For each sight the logarithms of the labels' chances; 0 where it says nothing of one."""
        logs = []
        for sight in self.sights:
            least = math.log(sight.trait.least) if sight.trait.least else -math.inf
            known = [place for place, label in enumerate(labels) if label in sight.heights]
            found = np.zeros(len(labels))
            found[known] = np.maximum(least, log_chances([sight.heights[labels[p]] for p in known], sight.scatter))
            logs.append(found)
        return logs

    def _joined(
        self, logs: Sequence[NDArray[np.float64]], view: tuple[list[int], list[list[float]]]
    ) -> NDArray[np.float64]:
        """The logarithm of each label's chance by some of the eyes, joined."""
        eyes, table = view
        by_eye = [
            np.minimum(0.0, math.log(len(self.by_eye[e])) + np.minimum.reduce([logs[i] for i in self.by_eye[e]]))
            for e in eyes
        ]
        rows = np.stack(by_eye, 1) if by_eye else np.zeros((len(logs[0]) if logs else 0, 0))
        return joined_by_row(rows, table)

    def log_level(self) -> float:
        """Logarithm of the chance that labels are as easy to force, all of them in the mean."""
        # Of a search that finds no trigger for most labels those of the others say nothing of the model.
        known = [s for s in self.sights if s.trait.level and 2 * len(s.heights) > len(self.labels)]
        levels = [log_chance_of_level(list(s.heights.values()), s.scatter) for s in known]
        return min(0.0, math.log(len(levels)) + min(levels)) if levels else 0.0


def _some(log_chance: float, count: int) -> float:
    """The chance that one of so many labels stands out, from the logarithm of the chance that one of them does."""
    return -math.expm1(count * math.log1p(-min(math.exp(log_chance), 1 - 1e-16)))
