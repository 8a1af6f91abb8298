"""Attacks that train the model themselves and poison it batch by batch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Spec, build, require, spec_of
from mantrap.core.attack import Implanted, NamedTrigger, StoredTrigger
from mantrap.core.shapes import Labels
from mantrap.core.truth import Backdoor, GroundTruth
from mantrap.errors import UsageError
from mantrap.poison.relabellings import AllToOne
from mantrap.training import Objective, Recipe, check_fits, fit


@dataclass(frozen=True, eq=False)
class Joint:
    """What a model is trained on so that it learns backdoors.

    Args:
        objective: What is minimised.
        backdoors: What the model learns by it, a trigger and a target for each.
        finished: Networks of the triggers that are trained already, by name; the objective's companions come to them.
        checkpoint: Where this training keeps its state, for an attack whose own checkpoint is that of the work before.
    """

    objective: Objective
    backdoors: tuple[tuple[NamedTrigger | StoredTrigger, int], ...]
    finished: Mapping[str, nn.Module] = field(default_factory=dict)
    checkpoint: Path | None = None


class JointTraining(ABC):
    """The verb of an attack that says what to train on."""

    @abstractmethod
    def prepare(
        self,
        model: Classifier,
        data: ImageSet,
        *,
        recipe: Recipe,
        rng: Rng,
        progress: Progress,
        checkpoint: Path | None,
    ) -> Joint:
        """All that the training needs, for this model and these images."""

    def implant(
        self,
        model: Classifier,
        data: ImageSet,
        *,
        recipe: str,
        rng: Rng,
        progress: Progress = SILENT,
        checkpoint: Path | None = None,
    ) -> Implanted:
        """Train a copy of the model on the attack's objective.

        The backdoors of the truth have no poisoned indices, for images are poisoned batch by batch.

        Args:
            model: Where to start; unchanged.
            data: Labelled images.
            recipe: Spec of the training recipe.
            rng: Source of randomness.
            progress: Observer of the work.
            checkpoint: File that keeps the state after every epoch, and from which a killed attack goes on.

        Returns:
            The model, the truth, and the weights of the networks that make the triggers, ``NUMBER.NETWORK.WEIGHT``.

        Raises:
            DataError: The images have no labels, or do not fit the model.
            FailedError: The training diverged.
            OutputError: The checkpoint belongs to another training.
            UsageError: A target or a trigger does not fit the model and the images.
        """
        check_fits(model, data)
        settings = build(Recipe, Spec.parse(recipe))
        joint = self.prepare(model, data, recipe=settings, rng=rng, progress=progress, checkpoint=checkpoint)
        for _, target in joint.backdoors:
            check_target(target, model)
        trained = fit(
            model,
            data,
            recipe=settings,
            rng=rng,
            objective=joint.objective,
            progress=progress,
            checkpoint=joint.checkpoint or checkpoint,
        )
        backdoors = tuple(_truth(trigger, target) for trigger, target in joint.backdoors)
        networks = {**joint.finished, **trained.companions}
        truth = GroundTruth(
            attack=str(spec_of(self)),
            seed=rng.seed,
            backdoors=backdoors,
            classes=model.num_classes,
            clean_digest=data.digest(),
        )
        return Implanted(trained.model, truth, _weights(networks, len(backdoors)), trained.record)


@dataclass(frozen=True)
class Shares:
    """How much of each batch is poisoned, and how much is changed in a like manner and keeps its label.

    Args:
        poisoned: Share of a batch, in (0, 1].
        noise: Share of a batch, in [0, 1].
    """

    poisoned: float
    noise: float

    def check(self, recipe: Recipe, data: ImageSet, target: int) -> None:
        """Refuse batches that are too small for a single poisoned image, or that have too few of other classes.

        Raises:
            UsageError: They are, or they have on average.
        """
        assert data.labels is not None
        others = int((data.labels != target).sum())
        if self.poisoned * len(data) > others:
            raise UsageError(
                expected=f"a rate of at most {others / len(data):.4g}, the share of the other classes in {data.name}",
                got=f"{self.poisoned}",
                remedy="Lower the rate.",
            )
        size = min(recipe.batch_size, len(data))
        if round(self.poisoned * size) < 1:
            raise UsageError(
                expected=f"batches of which a rate of {self.poisoned} poisons at least one image",
                got=f"{size} images",
                remedy="Choose a larger batch_size or rate.",
            )

    def draw(self, labels: Labels, target: int) -> tuple[Tensor, Tensor]:
        """Indices of the images of a batch, which is in random order, to poison and to use for noise.

        Poisoned images are of other classes than the target, so that all of them get another label.
        """
        count = len(labels)
        poisoned = torch.nonzero(labels != target).flatten()[: round(self.poisoned * count)]
        left = torch.ones_like(labels, dtype=torch.bool)
        left[poisoned] = False
        return poisoned, torch.nonzero(left).flatten()[: round(self.noise * count)]


def require_shares(rate: float, cross_ratio: float) -> None:
    """Refuse shares of a batch that are none, in a dataclass's ``__post_init__``.

    Raises:
        SpecError: They are out of range, or more than the whole batch together.
    """
    require(0 < rate <= 1, field="rate", expected="in (0, 1]", got=rate)
    require(
        cross_ratio >= 0 and rate * (1 + cross_ratio) <= 1,
        field="cross_ratio",
        expected=f"of at least 0, and so that a rate of {rate} and cross_ratio times as much are at most a batch",
        got=cross_ratio,
    )


def check_target(target: int, model: Classifier) -> None:
    """Refuse a target that the model does not have.

    Raises:
        UsageError: It is none of its classes.
    """
    AllToOne(target=target).relabel(torch.zeros(1, dtype=torch.int64), num_classes=model.num_classes, rng=Rng(0))


def _truth(trigger: NamedTrigger | StoredTrigger, target: int) -> Backdoor:
    aim, spec = AllToOne(target=target), str(spec_of(trigger))
    return Backdoor(trigger=spec, relabelling=str(spec_of(aim)), target=target, training_trigger=spec)


def _weights(networks: Mapping[str, nn.Module], backdoors: int) -> dict[str, Tensor]:
    """The networks' weights, once for each backdoor: a trigger is rebuilt from its own tensors alone."""
    return {
        f"{number}.{name}.{key}": tensor.detach().cpu().clone()
        for number in range(backdoors)
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
