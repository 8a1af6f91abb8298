"""The basic iterative method: many small steps from the image itself."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import SILENT, Problem, Progress, Rng
from mantrap.core.shapes import Images
from mantrap.evade.leading import ManySteps, climb_of
from mantrap.ops.pgd import pgd


@dataclass(frozen=True, kw_only=True)
class Bim(ManySteps):
    """Take many small steps along the gradient, back into the ball after each: the basic iterative method.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        step: Length of a step, as a share of ``eps``.
        steps: How many.

    Reference: Kurakin et al., Adversarial examples in the physical world, ICLR 2017 workshop, section 2.2.

    Deviations: the paper's steps are one grey level long, and their number follows from ``eps``.
    """

    name: ClassVar[str] = "bim"
    quick: ClassVar[str] = "bim(eps=0.1, steps=3, step=0.5)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`; nothing is drawn."""
        del rng, progress
        return pgd(problem.model, problem.images, problem.anchors, climb=climb_of(problem), ascent=self.ascent)
