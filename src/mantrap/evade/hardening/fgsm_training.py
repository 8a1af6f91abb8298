"""Adversarial training as it began: every image is learned as it is, and after one step of the gradient's sign."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import Problem, Rng
from mantrap.core.shapes import Images
from mantrap.evade.fgsm import fgsm
from mantrap.evade.hardening.batches import Mixture


@dataclass(frozen=True, kw_only=True)
class FgsmTraining(Mixture):
    """Learn every image as it is and after the fast gradient sign method.

    It costs about three times as much as plain training. The model comes to stand one step; many steps may mislead it
    as before, which the record says.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        clean: Weight of the images as they are, in [0, 1); the perturbed ones have the rest.

    Reference: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 6.

    Deviations: images are made with the model in eval mode, without dropout, where the paper says nothing of it;
    training stops as the recipe has it, where the paper looks at the error on perturbed validation images.
    """

    name: ClassVar[str] = "fgsm_training"
    quick: ClassVar[str] = "fgsm_training(eps=0.1)"
    clean: float = 0.5

    def perturbed(self, problem: Problem, rng: Rng) -> Images:
        """One step of the whole budget; nothing is drawn."""
        del rng
        return fgsm(problem, self.eps, self.norm)
