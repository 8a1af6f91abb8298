"""The fast gradient sign method: one step, all of the budget."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import SILENT, AnyNorm, Problem, Progress, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.leading import slope_of
from mantrap.ops.linear_step import linear_step
from mantrap.ops.projections import NORMS, check_ball, require_ball


@dataclass(frozen=True, kw_only=True)
class Fgsm:
    """Go once along the gradient of the loss, as far as the budget allows: the fast gradient sign method.

    The step is the best one there is where the loss is linear in the pixels, which is what the method was made to show.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"``, and every value goes by ``eps``; ``"l2"``; or ``"l1"``, which spends it on few values.

    Reference: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 4.

    Deviations: with L2 and L1 the budget is spent on values that have room in [0, 1], where others clip afterwards and
    so spend less.
    """

    name: ClassVar[str] = "fgsm"
    quick: ClassVar[str] = "fgsm(eps=0.1)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    eps: float = 0.25
    norm: AnyNorm = "linf"

    def __post_init__(self) -> None:
        require(self.norm in NORMS, field="norm", expected=f"out of {', '.join(NORMS)}", got=self.norm)
        require_ball(self.eps, self.norm)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`; nothing is drawn."""
        del rng, progress
        return fgsm(problem, self.eps, self.norm)


def fgsm(problem: Problem, eps: float, norm: AnyNorm = "linf") -> Images:
    """One step of length ``eps`` along the gradient, [n, c, h, w]."""
    check_ball(eps, norm, problem.model.input_shape)
    return linear_step(problem.images, slope_of(problem, problem.images), eps, norm)
