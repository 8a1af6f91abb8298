"""What several eyes say of each label: traits of one eye see the same thing, and the eyes are joined."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mantrap.ops.moderated import joined_by_row, log_chance_of_level, log_chances
from mantrap.records import Null
from mantrap.records.traits import PATCH, Trait
from mantrap.workflow.heights import Sight


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


class Eyes:
    """All that was measured, by eye."""

    def __init__(self, sights: Sequence[Sight], null: Null) -> None:
        self.sights, self.null = sights, null
        begun = (label for sight in sights if sight.halved is not None for label in sight.halved.labels)
        self.labels = sorted({*begun, *(label for sight in sights for label in sight.values)})
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
            heights, peers = [sight.heights[labels[p]] for p in known], sight.peers([labels[p] for p in known])
            found = np.zeros(len(labels))
            found[known] = np.maximum(least, log_chances(heights, sight.scatter, population=peers))
            logs.append(found)
        return logs

    def _joined(
        self, logs: Sequence[NDArray[np.float64]], view: tuple[list[int], list[list[float]]]
    ) -> NDArray[np.float64]:
        """The logarithm of each label's chance by some of the eyes, joined.

        Of the traits of one eye the smallest chance counts, of which each may claim its part of the false alarms.

        Reference: Genovese, Roeder and Wasserman, False discovery control with p-value weighting, Biometrika 2006,
        section 3, for weighted Bonferroni bounds.
        """
        eyes, table = view
        by_eye = [
            np.minimum(0.0, np.minimum.reduce([logs[i] - self._part(i, e) for i in self.by_eye[e]])) for e in eyes
        ]
        rows = np.stack(by_eye, 1) if by_eye else np.zeros((len(logs[0]) if logs else 0, 0))
        return joined_by_row(rows, table)

    def _part(self, sight: int, eye: int) -> float:
        """Logarithm of the part of its eye's false alarms that a sight may claim."""
        return math.log(self.sights[sight].trait.weight / sum(self.sights[i].trait.weight for i in self.by_eye[eye]))

    def log_level(self) -> float:
        """Logarithm of the chance that labels are as easy to force, all of them in the mean."""
        # Of a search that finds no trigger for most labels those of the others say nothing of the model.
        asked = [len(self.labels) if s.halved is None else len(s.halved.population) for s in self.sights]
        usual = [(s, s.usual()) for s in self.sights]
        known = [(s, some) for (s, some), n in zip(usual, asked, strict=True) if s.trait.level and 2 * len(some) > n]
        levels = [log_chance_of_level(some, s.scatter) for s, some in known]
        return min(0.0, math.log(len(levels)) + min(levels)) if levels else 0.0
