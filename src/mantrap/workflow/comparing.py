"""Compare a model's labels with each other and with models without a backdoor: which stands out, and by what chance."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mantrap.detect.nulls import known_nulls
from mantrap.records import Null, ShiftScatter
from mantrap.workflow.eyes import Eyes, Standing
from mantrap.workflow.heights import Beside, Halved, Measured, sights_beside, sights_of
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
    measured: Measured,
    null: Null,
    references: Sequence[Measured] = (),
    beside: Beside | None = None,
    *,
    halved: Sequence[Halved | None] = (),
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
        halved: For each detector which labels ended early, if any did: then there are no references and no copy. All
            count by whose number a chance is corrected, so that whichever are chosen to go on, no more stand out.

    Returns:
        ``None`` where nothing was measured that the null knows.

    Reference: Rosner, Percentage points for a generalized ESD many-outlier procedure, Technometrics 1983, for setting
    labels aside one after the other.
    """
    models = f"{models_of(len(references))} of the same task, and with " if references else ""
    alone = _compared(Eyes(sights_of(measured, null, references, halved), null), models)
    copied = None if beside is None else _compared(Eyes(sights_beside(measured, beside), beside.null), "")
    if alone is None or copied is None:
        return alone
    clearer = min(alone, copied, key=lambda one: one.chance_of(one.first))
    return dataclasses.replace(clearer, looks=2 * clearer.looks)


def _compared(eyes: Eyes, models: str) -> Compared | None:
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


def _some(log_chance: float, count: int) -> float:
    """The chance that one of so many labels stands out, from the logarithm of the chance that one of them does."""
    return -math.expm1(count * math.log1p(-min(math.exp(log_chance), 1 - 1e-16)))
