"""The control of every hardening: noise of the same size, which no adversary has chosen."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from mantrap.core import Problem, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.hardening.batches import Mixture
from mantrap.ops.projections import within_ball


@dataclass(frozen=True, kw_only=True)
class Noise(Mixture):
    """Learn every image as it is and with noise as large as an adversarial perturbation: the control.

    What it gives is what a hardening owes to change as such. It gives next to nothing: noise and gradient are nearly at
    right angles where there are many pixels.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        clean: Weight of the images as they are, in [0, 1); the noisy ones have the rest.
        drawn: ``"signs"``, every value goes up or down by ``eps``; ``"even"``, evenly from the ball.

    Reference: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 6.

    Deviations: the paper does not say whether images without noise are learned as well; here they are, as in the
    training that is compared with it. What goes out of [0, 1] is clipped.
    """

    name: ClassVar[str] = "noise"
    quick: ClassVar[str] = "noise(eps=0.1)"
    clean: float = 0.5
    drawn: Literal["signs", "even"] = "signs"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = ("signs", "even") if self.norm == "linf" else ("even",)
        require(
            self.drawn in known, field="drawn", expected=f"out of {', '.join(known)} for {self.norm}", got=self.drawn
        )

    def perturbed(self, problem: Problem, rng: Rng) -> Images:
        """The images with noise of their own each."""
        images = problem.images
        if self.drawn == "even":
            change = within_ball(images, self.eps, self.norm, rng)
        else:
            signs = torch.randint(0, 2, images.shape, generator=rng.torch()) * 2 - 1
            change = self.eps * signs.to(images.device)
        return (images + change).clamp(0.0, 1.0)
