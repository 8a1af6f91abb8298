"""Is every class sent to another one more easily than in models without a backdoor?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mantrap.ops.student import log_upper_tail
from mantrap.records import ShiftScatter

SHIFT_SHARE = 0.1
"""Share of the false alarms that may come from classes that are sent to one another."""


@dataclass(frozen=True)
class Shifted:
    """What is said of the likeliest shift.

    Args:
        by: How many classes further on.
        likely: How likely the model finds these labels.
        alone: The chance that a model without a backdoor finds those of its likeliest shift as likely.
    """

    by: int
    likely: float
    alone: float

    @property
    def chance(self) -> float:
        """The chance that a model without a backdoor looks as suspicious, by this or by anything else."""
        return min(1.0, self.alone / SHIFT_SHARE)


def compare_shifts(likely: Mapping[int, float], classes: int, known: Sequence[ShiftScatter]) -> Shifted | None:
    """How the likeliest shift of a model stands; ``None`` where nothing is known of models of so many classes.

    It is compared with the likeliest shift of other models: shares that are nearly normal over models, with shorter
    tails, so that Student's distribution promises too little rather than too much. Who looks at more shifts than were
    looked at there finds a likelier one by chance in proportion.

    Args:
        likely: For each number of classes further on how likely the model finds these labels, in [0, 1].
        classes: Classes of the model.
        known: How the likeliest shift scatters over models without a backdoor, by their number of classes.
    """
    null = next((s for s in known if s.fewest <= classes <= s.most), None)
    if null is None or not likely:
        return None
    by = min(likely, key=lambda one: (-likely[one], one))
    spread = null.between * math.sqrt(1 + 1 / null.models)
    tail = log_upper_tail(np.array([(likely[by] - null.centre) / spread]), np.array([null.models - 1.0]))
    looks = max(1.0, len(likely) / min(null.shifts, classes - 1))
    return Shifted(by, likely[by], min(1.0, looks * math.exp(float(tail[0]))))
