"""Training that weighs being right against answering alike all around."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from mantrap.core import Classifier, Rng, require
from mantrap.core.shapes import Images, Labels, Logits
from mantrap.evade.hardening.batches import BatchHardening
from mantrap.evade.hardening.watch import Budgeted
from mantrap.ops.pgd import Ascent, pgd
from mantrap.training import BatchLoss, entropy


@dataclass(frozen=True, kw_only=True)
class Trades(Budgeted, BatchHardening):
    """Learn every image as it is, and to answer alike wherever many steps lead away from that answer: TRADES.

    The labels say what is right for clean images only. With a larger ``beta`` the model stands attacks better and is
    less often right without one.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        beta: Weight of the divergence.
        step: Length of a step, as a share of ``eps``.
        steps: How many.

    Reference: Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019, algorithm 1
    and equation 5; beta is its 1/lambda, the other defaults are those of its digits. As in the authors' code images are
    made with the model in eval mode.

    Deviations: steps begin at a random point of the ball, where the paper adds faint normal noise to the image.
    """

    name: ClassVar[str] = "trades"
    quick: ClassVar[str] = "trades(eps=0.1, steps=2, step=0.6)"
    eps: float = 0.3
    beta: float = 6.0
    step: float = 1 / 30
    steps: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.beta > 0, field="beta", expected="above 0", got=self.beta)
        require(self.step > 0, field="step", expected="above 0", got=self.step)
        require(self.steps >= 1, field="steps", expected="of at least 1", got=self.steps)

    @property
    def budget(self) -> Budgeted:
        """How far perturbations go."""
        return self

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """Cross-entropy of clean images, plus the weighted divergence of the answers to moved ones from theirs."""
        del companions
        ascent = Ascent(norm=self.norm, eps=self.eps, step=self.step * self.eps, steps=self.steps)
        with model.frozen():
            with torch.no_grad():
                answers = model.logits(images)

            def apart(model: Classifier, moved: Images, _labels: Labels) -> Tensor:
                return divergences(model.logits(moved), answers)

            moved = pgd(model, images, labels, climb=apart, ascent=ascent, rng=rng.child("perturbed"))
        plain, misled = model.logits(torch.cat([images, moved])).chunk(2)
        batch = entropy(plain, labels)
        return BatchLoss(batch.loss + self.beta * divergences(misled, plain).mean(), batch.hits, batch.total)


def divergences(logits: Logits, answers: Logits) -> Tensor:
    """The Kullback-Leibler divergence of each row's classes from those of the answer, [n]."""
    return kl_div(logits.log_softmax(1), answers.log_softmax(1), reduction="none", log_target=True).sum(1)
