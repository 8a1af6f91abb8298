"""Training on the end of one long step from a random start: nearly as cheap as plain training."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import Problem, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.hardening.batches import Mixture
from mantrap.ops.pgd import Ascent, away, pgd


@dataclass(frozen=True, kw_only=True)
class Fast(Mixture):
    """Learn the images after one step from a random point of the ball, in place of the images themselves.

    Costs about twice as much as plain training, and is meant to do for what many steps do. With too long a step, or too
    long a training, the model learns to stand single steps only, from one epoch to the next; the record says so.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        clean: Weight of the images as they are, in [0, 1); the perturbed ones have the rest.
        step: Length of the step, as a share of ``eps``.

    Reference: Wong et al., Fast is better than free: revisiting adversarial training, ICLR 2020, section 4 and
    algorithm 3; the defaults are those of its digits.

    Deviations: the random start is clipped to [0, 1] before the step; images are made with the model in eval mode, as
    for :class:`~mantrap.evade.hardening.pgd_training.PgdTraining`.
    """

    name: ClassVar[str] = "fast"
    quick: ClassVar[str] = "fast(eps=0.1)"
    eps: float = 0.3
    step: float = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.step > 0, field="step", expected="above 0", got=self.step)

    def perturbed(self, problem: Problem, rng: Rng) -> Images:
        """The end of the step, brought back into the ball."""
        ascent = Ascent(norm=self.norm, eps=self.eps, step=self.step * self.eps, steps=1)
        return pgd(problem.model, problem.images, problem.labels, climb=away, ascent=ascent, rng=rng)
