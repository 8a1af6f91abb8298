"""The faintest change of all pixels that sends all images to a label: what blended and invisible triggers look like."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mantrap.detect.arm_triggers import AdditionArms
from mantrap.detect.blind_spots import CHANGING, NOT_ALL_TO_ONE, PATCHES, WARPING
from mantrap.detect.by_norm import PERTURBATION_UNIT, SMALLEST
from mantrap.detect.reversal import Reversal
from mantrap.records.traits import PERTURBATION


@dataclass(frozen=True, kw_only=True)
class UniversalPerturbation(AdditionArms, Reversal):
    """Find, for every label, the faintest change of all pixels that sends all images there.

    Use it beside ``neural_cleanse``: it names the targets of triggers that are spread over the image, blended or
    invisible, which no small patch opens. Models without a backdoor have faint universal perturbations as well, so only
    a label that needs far less than the others is a suspect.

    Args: those of :class:`AdditionArms` and of :class:`~mantrap.detect.reversal.Reversal`.

    Reference: Xiang, Miller and Kesidis, Detection of backdoors in trained classifiers without access to the training
    set, IEEE TNNLS 2022. Deviations: one perturbation for all source classes together; those of :class:`AdditionArms`.
    """

    name: ClassVar[str] = "universal_perturbation"
    quick: ClassVar[str] = "universal_perturbation(steps=20, final_steps=8, labels_at_once=2)"
    blind_spots: ClassVar[tuple[str, ...]] = (*NOT_ALL_TO_ONE, PATCHES, WARPING, CHANGING)
    unit: ClassVar[str] = PERTURBATION_UNIT

    restarts: int = 1
    finalists: int = 2

    def traits(self, norms: Mapping[int, float], shape: tuple[int, int, int]) -> dict[str, dict[int, float]]:
        """Root mean square of each label's perturbation."""
        size = math.sqrt(math.prod(shape))
        return {PERTURBATION.name: {label: max(norm, SMALLEST) / size for label, norm in norms.items()}}
