"""Training on the worst that many steps find."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import Problem, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.hardening.batches import Mixture
from mantrap.ops.pgd import Ascent, away, pgd


@dataclass(frozen=True, kw_only=True)
class PgdTraining(Mixture):
    """Learn the images after projected gradient descent from a random start, in place of the images themselves.

    The model comes to stand many steps of this budget. Costs as many times plain training as there are steps, and more.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        clean: Weight of the images as they are, in [0, 1); the perturbed ones have the rest.
        step: Length of a step, as a share of ``eps``.
        steps: How many.

    Reference: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018, sections 2 and 4;
    the defaults are those of its digits, 40 steps of 0.01.

    Deviations: images are made with the model in eval mode, so that its batch statistics are neither used as they are
    in training nor moved; the authors' network for digits has none, that for CIFAR-10 is attacked in training mode.
    """

    name: ClassVar[str] = "pgd_training"
    quick: ClassVar[str] = "pgd_training(eps=0.1, steps=2, step=0.6)"
    eps: float = 0.3
    step: float = 1 / 30
    steps: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.step > 0, field="step", expected="above 0", got=self.step)
        require(self.steps >= 1, field="steps", expected="of at least 1", got=self.steps)

    def perturbed(self, problem: Problem, rng: Rng) -> Images:
        """The end of all steps."""
        ascent = Ascent(norm=self.norm, eps=self.eps, step=self.step * self.eps, steps=self.steps)
        return pgd(problem.model, problem.images, problem.labels, climb=away, ascent=ascent, rng=rng)
