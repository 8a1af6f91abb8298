"""What a recipe may ask training to minimise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss, one_hot

from mantrap.core import Classifier, Registry, Rng, require, spec_of
from mantrap.core.shapes import Images, Labels
from mantrap.errors import UsageError
from mantrap.training.objectives import CROSS_ENTROPY, BatchLoss, Objective, entropy

_DECODER, _LEAST = "decoder", 1e-6


class Loss(Protocol):
    """Settings that make an objective for a model."""

    name: ClassVar[str]

    def objective(self, model: Classifier, rng: Rng) -> Objective:
        """What is minimised; networks that are trained along draw their weights from ``rng``."""


@dataclass(frozen=True, kw_only=True)
class PlainLoss:
    """The mean cross-entropy of the softmax of the logits."""

    name: ClassVar[str] = "cross_entropy"

    def objective(self, model: Classifier, rng: Rng) -> Objective:
        """That of plain training."""
        del model, rng
        return CROSS_ENTROPY


@dataclass(frozen=True, kw_only=True)
class OneAgainstRest:
    """Every class by itself: the binary cross-entropy of the sigmoid of its logit, summed over the classes.

    The model may then say of an image that it is of no class at all, which a softmax cannot.

    Reference: Rifkin and Klautau, In defense of one-vs-all classification, JMLR 2004, for classes one by one.
    """

    name: ClassVar[str] = "one_against_rest"
    companions: ClassVar[Mapping[str, nn.Module]] = {}
    companion_optimizer: ClassVar[str] = "adam"

    @property
    def identity(self) -> str:
        """The spec."""
        return str(spec_of(self))

    def objective(self, model: Classifier, rng: Rng) -> Objective:
        """It is one."""
        del model, rng
        return self

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean over the batch."""
        del companions, rng
        logits = model.logits(images)
        wanted = one_hot(labels, logits.shape[1]).to(logits.dtype)
        loss = binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / len(labels)
        return BatchLoss(loss, entropy(logits, labels).hits, len(labels))


@dataclass(frozen=True, kw_only=True)
class SparseAutoencoder:
    """A softmax on the features of a sparse autoencoder, which learn nothing from the labels.

    The layers up to the features learn to code the image so that a decoder can paint it again, while few units are
    active at a time; the layers above them learn the labels by cross-entropy, and nothing of that goes back. Both learn
    at once, which comes to the same as one after the other when the features have settled.

    Args:
        layer: Name of the layer of features, as in ``named_modules()``; its units are sigmoids. The default is that of
            ``mlp(hidden=(400,), activation='sigmoid')``.
        active: Mean activation that units are held to, in (0, 1).
        sparsity: Weight of the divergence from it, summed over the units, at least 0.

    Reference: Ng, Sparse autoencoder, CS294A lecture notes, 2011, for the loss; Szegedy et al., Intriguing properties
    of neural networks, ICLR 2014, section 4, for the network AE400-10.

    Deviations: mean activations are those of the batch, not of all images; weight decay is the optimiser's.
    """

    name: ClassVar[str] = "sparse_autoencoder"
    layer: str = "2"
    active: float = 0.05
    sparsity: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.active < 1, field="active", expected="between 0 and 1", got=self.active)
        require(self.sparsity >= 0, field="sparsity", expected="of at least 0", got=self.sparsity)

    def objective(self, model: Classifier, rng: Rng) -> Objective:
        """With a decoder for this layer."""
        blank = torch.zeros(1, *model.input_shape, device=model.device)
        with model.frozen(), torch.no_grad():
            units = model.features(blank, self.layer).flatten(1)
        if not bool(((units >= 0) & (units <= 1)).all()):
            raise UsageError(
                expected=f"a layer whose units are in [0, 1], such as sigmoids, in place of {self.layer!r}",
                got=f"values from {float(units.min()):.4g} to {float(units.max()):.4g}",
                remedy="Name another layer in sparse_autoencoder(layer=...), or build the network with sigmoid units.",
            )
        with rng.child(_DECODER).as_global():
            decoder = nn.Linear(units.shape[1], blank.numel(), dtype=units.dtype)
        return Recoded(identity=str(spec_of(self)), settings=self, companions={_DECODER: decoder})


@dataclass(frozen=True, eq=False, kw_only=True)
class Recoded:
    """What :class:`SparseAutoencoder` minimises."""

    identity: str
    settings: SparseAutoencoder
    companions: Mapping[str, nn.Module]
    companion_optimizer: str = "adam"

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """Half the squared error of the painted image, the weighted divergence, and the cross-entropy above."""
        del rng
        caught: list[Tensor] = []

        def part(_module: nn.Module, _inputs: object, features: Tensor) -> Tensor:
            caught.append(features)
            return features.detach()

        handle = dict(model.module.named_modules())[self.settings.layer].register_forward_hook(part)
        try:
            batch = entropy(model.logits(images), labels)
        finally:
            handle.remove()
        features = caught[-1].flatten(1)
        painted = companions[_DECODER](features).sigmoid()
        error = mse_loss(painted, images.flatten(1), reduction="sum") / (2 * len(images))
        spread = self.settings.sparsity * divergence(self.settings.active, features.mean(0))
        return BatchLoss(batch.loss + error + spread, batch.hits, batch.total)


def divergence(active: float, means: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of units that are active so often from one that is active as it should be."""
    means = means.clamp(_LEAST, 1 - _LEAST)
    on, off = active * (active / means).log(), (1 - active) * ((1 - active) / (1 - means)).log()
    return (on + off).sum()


LOSSES: Registry[Loss] = Registry("loss", [PlainLoss, OneAgainstRest, SparseAutoencoder])


def minimised(loss: str, given: Objective | None, model: Classifier, rng: Rng) -> Objective:
    """The objective that is given, or else that of a recipe's loss.

    Raises:
        SpecError: There is no such loss.
        UsageError: Both are asked for, or the model has no such layer.
    """
    if given is None:
        return LOSSES.create(loss).objective(model, rng.child("loss"))
    if loss != PlainLoss.name:
        raise UsageError(
            expected=f"a recipe without a loss of its own, for {given.identity} has one",
            got=f"loss={loss!r}",
            remedy="Leave the loss out of the recipe.",
        )
    return given
