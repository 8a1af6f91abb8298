"""Projected gradient descent: the iterative method from random starts."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import SILENT, Problem, Progress, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.leading import ManySteps, climb_of, farther
from mantrap.ops.pgd import pgd


@dataclass(frozen=True, kw_only=True)
class Pgd(ManySteps):
    """Take many small steps along the gradient from a random point of the ball: projected gradient descent.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        step: Length of a step, as a share of ``eps``.
        steps: How many.
        restarts: From how many random points; of several ends the one farthest beyond the goal is taken.

    Reference: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018, section 2.1 and
    appendix B.
    """

    name: ClassVar[str] = "pgd"
    quick: ClassVar[str] = "pgd(eps=0.1, steps=3, step=0.5, restarts=2)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.restarts >= 1, field="restarts", expected="of at least 1", got=self.restarts)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`."""
        best: Images | None = None
        with progress.stage("pgd", self.restarts) as stage:
            for number in range(self.restarts):
                end = pgd(
                    problem.model,
                    problem.images,
                    problem.anchors,
                    climb=climb_of(problem),
                    ascent=self.ascent,
                    rng=rng.child("start", number=number),
                )
                best = end if best is None else farther(problem, best, end)
                stage.advance()
        assert best is not None
        return best
