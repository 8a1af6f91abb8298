"""Neural Cleanse, fast: for every label, find the smallest patch that sends all images there.

The label that a backdoor leads to needs a much smaller patch than the others. All labels and restarts are searched as
one tensor, on a copy of the model that was made fast; then the labels with the smallest patches are searched on, with
more images a step, so that their triggers are worth showing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mantrap.detect.arm_triggers import PatchArms
from mantrap.detect.by_norm import PATCH_BLIND_SPOTS, PATCH_UNIT, patch_traits
from mantrap.detect.reversal import Reversal


@dataclass(frozen=True, kw_only=True)
class NeuralCleanse(PatchArms, Reversal):
    """Find, for every label, the smallest patch that sends all images there; a label that needs far less is a suspect.

    Use it where a backdoor shows itself by a small patch at a fixed place. It does not see backdoors that react to
    some classes only or that send every class elsewhere, nor triggers that cover much of the image.

    Args: those of :class:`PatchArms` and of :class:`~mantrap.detect.reversal.Reversal`.

    Reference: Wang et al., Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks, IEEE S&P
    2019, section IV-A. Deviations: those of :class:`PatchArms`; ``neural_cleanse_paper`` follows the paper.
    """

    name: ClassVar[str] = "neural_cleanse"
    quick: ClassVar[str] = "neural_cleanse(steps=20, final_steps=8, labels_at_once=2)"
    blind_spots: ClassVar[tuple[str, ...]] = PATCH_BLIND_SPOTS
    unit: ClassVar[str] = PATCH_UNIT

    def traits(self, norms: Mapping[int, float], shape: tuple[int, int, int]) -> dict[str, dict[int, float]]:
        """The share of the image that each label's patch covers."""
        return patch_traits(norms, shape)
