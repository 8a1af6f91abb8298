"""The momentum iterative method: many steps along what the gradients have in common."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mantrap.core import SILENT, Problem, Progress, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.leading import ManySteps, slope_of
from mantrap.ops.pgd import Ascent, one_step
from mantrap.ops.projections import check_ball, norms


@dataclass(frozen=True, kw_only=True)
class MiFgsm(ManySteps):
    """Take steps along a memory of all gradients so far, which keeps its way past small bumps: MI-FGSM.

    Use it for adversarial examples that shall mislead other models as well, which it was made for.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        step: Length of a step, as a share of ``eps``; with the paper's, the steps add up to ``eps``.
        steps: How many.
        decay: What is kept of the memory from one step to the next; with 0 this is ``bim``.

    Reference: Dong et al., Boosting Adversarial Attacks with Momentum, CVPR 2018, algorithm 1, and equation 9 for L2.
    """

    name: ClassVar[str] = "mi_fgsm"
    quick: ClassVar[str] = "mi_fgsm(eps=0.1, steps=4, step=0.25)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    steps: int = 10
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.decay >= 0, field="decay", expected="of at least 0", got=self.decay)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`; nothing is drawn."""
        del rng, progress
        return mi_fgsm(problem, self.ascent, self.decay)


def mi_fgsm(problem: Problem, ascent: Ascent, decay: float = 1.0) -> Images:
    """The last point of a search along the decaying sum of gradients, each over its L1 norm, [n, c, h, w]."""
    check_ball(ascent.eps, ascent.norm, problem.model.input_shape)
    moved, memory = problem.images, torch.zeros_like(problem.images)
    for _ in range(ascent.steps):
        rise = slope_of(problem, moved)
        length = norms(rise, "l1").view(-1, 1, 1, 1)
        memory = decay * memory + torch.where(length > 0, rise / length, 0.0)
        moved = one_step(problem.images, moved, memory, ascent)
    return moved
