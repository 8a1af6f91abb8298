"""FGSM after a small random step, which gets past a loss that is flat or jagged at the image itself."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mantrap.core import SILENT, AnyNorm, Problem, Progress, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.leading import slope_of
from mantrap.ops.projections import require_ball


@dataclass(frozen=True, kw_only=True)
class RandomFgsm:
    """Take a random step, then spend what is left of the budget along the gradient: R+FGSM.

    Args:
        eps: Budget, the largest change of a pixel's value in [0, 1].
        drawn: Share of it that the random step takes: every value goes up or down by so much.

    Reference: Tramer et al., Ensemble Adversarial Training, ICLR 2018, section 4.1 and equation 7.
    """

    name: ClassVar[str] = "rfgsm"
    quick: ClassVar[str] = "rfgsm(eps=0.1)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    norm: ClassVar[AnyNorm] = "linf"
    eps: float = 0.25
    drawn: float = 0.5

    def __post_init__(self) -> None:
        require_ball(self.eps, "linf")
        require(0 < self.drawn < 1, field="drawn", expected="between 0 and 1", got=self.drawn)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`."""
        del progress
        noise = torch.randn(problem.images.shape, generator=rng.torch()).sign().to(problem.images.device)
        first = (problem.images + self.drawn * self.eps * noise).clamp(0.0, 1.0)
        return (first + (1 - self.drawn) * self.eps * slope_of(problem, first).sign()).clamp(0.0, 1.0)
