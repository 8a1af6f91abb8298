"""What training minimises on a batch: cross-entropy, unless somebody has another idea."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, Rng
from mantrap.core.shapes import Images, Labels


@dataclass(frozen=True, eq=False)
class BatchLoss:
    """The loss of a batch, and how many of how many answers were right before the update."""

    loss: Tensor
    hits: int
    total: int


@runtime_checkable
class Objective(Protocol):
    """What is minimised: a function of the model and a batch, and the networks that are trained along with the model.

    An objective holds settings and the starting weights of its companions; ``fit`` trains copies of these and hands
    them in with every batch.
    """

    @property
    def identity(self) -> str:
        """All settings in one line, so that a checkpoint is not taken up by another training."""

    @property
    def companions(self) -> Mapping[str, nn.Module]:
        """Networks to train along, such as a generator of triggers, by name."""

    @property
    def companion_optimizer(self) -> str:
        """Spec of the optimiser of the companions."""

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The loss of one batch.

        Args:
            model: The model in training, in training mode.
            images: [n, c, h, w] in [0, 1], after augmentation, on the model's device.
            labels: [n].
            companions: The companions in training.
            rng: The stream of this batch.
        """


class CrossEntropy:
    """Plain training: the mean cross-entropy of the batch."""

    identity = "cross_entropy"
    companions: Mapping[str, nn.Module] = {}
    companion_optimizer = "adam"

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean cross-entropy."""
        del companions, rng
        return entropy(model.logits(images), labels)


def entropy(logits: Tensor, labels: Labels) -> BatchLoss:
    """The mean cross-entropy of logits [n, k], with the count of right answers."""
    hits = int((logits.detach().argmax(1) == labels).sum())
    return BatchLoss(cross_entropy(logits, labels), hits, len(labels))


CROSS_ENTROPY: Objective = CrossEntropy()
