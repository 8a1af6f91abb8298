"""Train a classifier: deterministic, resumable, and it says why it stopped."""

import copy
import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Stage, spec_of
from mantrap.core.classifier import state_bytes
from mantrap.errors import FailedError, OutputError, UsageError
from mantrap.ops.layout import channels_last
from mantrap.records import EpochRecord, TrainingRecord
from mantrap.records.files import write_atomically
from mantrap.training.augment import AUGMENTATIONS
from mantrap.training.checks import check_fits
from mantrap.training.losses import minimised
from mantrap.training.objectives import BatchLoss, Objective
from mantrap.training.optimizers import OPTIMIZERS
from mantrap.training.recipe import Recipe
from mantrap.training.schedules import SCHEDULES


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier, how it came about, and the networks that were trained along with it."""

    model: Classifier
    record: TrainingRecord
    companions: Mapping[str, nn.Module] = field(default_factory=dict)


def fit(
    model: Classifier,
    images: ImageSet,
    *,
    recipe: Recipe,
    rng: Rng,
    objective: Objective | None = None,
    progress: Progress = SILENT,
    checkpoint: Path | None = None,
) -> Trained:
    """Minimise an objective, the loss of the recipe where nothing else is said, on labelled images.

    The model that comes in is not changed. The same model, images, recipe and seed give the same weights on the same
    machine and number of threads, whether the training ran through or was killed and resumed after any epoch.

    Args:
        model: Where to start; on the device to train on.
        images: Labelled images.
        recipe: How to train.
        rng: Source of randomness for order, augmentation, dropout and objective.
        objective: What to minimise in place of the recipe's loss.
        progress: Observer; one unit an epoch.
        checkpoint: File that keeps the state after every epoch, and from which a killed training goes on.

    Returns:
        The trained model in eval mode, and the record; ``stopped`` is ``"converged"`` or ``"last epoch"``.

    Raises:
        DataError: No labels, labels outside the model's classes, or images of another shape than the model takes.
        FailedError: The loss is not finite any more.
        OutputError: The checkpoint belongs to another training.
        UsageError: The recipe names layers that the model does not have, or a loss beside an objective.
    """
    check_fits(model, images)
    run = _Run(model, images, recipe, rng, minimised(recipe.loss, objective, model, rng))
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    with channels_last(run.model), progress.stage("train", recipe.epochs) as stage:
        stage.advance(len(run.epochs), "from the run before" if run.epochs else "")
        while not run.stopped:
            run.one_epoch(stage)
            if checkpoint is not None:
                run.keep(checkpoint)
    run.finish()
    return Trained(run.model, run.record(), run.companions)


class _Run:
    """The state of one training between two epochs; it owns a copy of the model."""

    def __init__(self, model: Classifier, images: ImageSet, recipe: Recipe, rng: Rng, objective: Objective) -> None:
        self.model = copy.copy(model)
        self.model.module = copy.deepcopy(model.module)
        self.images, self.recipe, self.rng, self.objective = images, recipe, rng, objective
        self.epochs: list[EpochRecord] = []
        self.start_digest = model.digest()
        marks = [objective.identity, *map(_digest, objective.companions.values())]
        self.identity = f"{model.arch} {self.start_digest} {images.digest()} {spec_of(recipe)} {rng} {' '.join(marks)}"
        self.resting = _resting(self.model.module, recipe.layers)
        own = [p for layer in self.resting for p in layer.parameters(recurse=False)]
        self.at_rest = [p for p in own if p.requires_grad]
        for parameter in self.at_rest:
            parameter.requires_grad_(False)
        known = {id(p) for p in own}
        trained = [p for p in self.model.module.parameters() if id(p) not in known]
        if not trained:
            raise UsageError(
                expected=f"layers with weights in {recipe.layers}", got="none that has any", remedy="Name other layers."
            )
        self.optimizers = [OPTIMIZERS.create(recipe.optimizer).build(trained)]
        self.companions = {k: copy.deepcopy(v).to(model.device) for k, v in objective.companions.items()}
        if along := [p for companion in self.companions.values() for p in companion.parameters()]:
            self.optimizers.append(OPTIMIZERS.create(objective.companion_optimizer).build(along))
        self.base_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.schedule = SCHEDULES.create(recipe.schedule)
        self.augment = AUGMENTATIONS.create(recipe.augment)
        self.steps_per_epoch = math.ceil(len(images) / recipe.batch_size)

    @property
    def stopped(self) -> str:
        """Why the training is over, or nothing while it is not."""
        if self.recipe.patience and len(self.epochs) > self.recipe.patience:
            best = min(e.loss for e in self.epochs[: -self.recipe.patience])
            if all(e.loss > best - self.recipe.tolerance for e in self.epochs[-self.recipe.patience :]):
                return "converged"
        return "last epoch" if len(self.epochs) == self.recipe.epochs else ""

    def one_epoch(self, stage: Stage) -> None:
        epoch, size = len(self.epochs), self.recipe.batch_size
        rng = self.rng.child("epoch", number=epoch)
        order = torch.randperm(len(self.images), generator=rng.child("order").torch()).tolist()
        noise = rng.child("augment").torch()
        loss_sum, hits, answers = 0.0, 0, 0
        self.model.module.train()
        for companion in self.companions.values():
            companion.train()
        for layer in self.resting:
            layer.training = False
        with rng.child("dropout").as_global():
            for number, start in enumerate(range(0, len(order), size)):
                self._set_rate(epoch * self.steps_per_epoch + number)
                batch = self._update(order[start : start + size], noise, rng.child("batch", number=number))
                loss_sum += float(batch.loss.detach()) * len(order[start : start + size])
                hits, answers = hits + batch.hits, answers + batch.total
                share = min(size, len(order) - start) / len(order)
                stage.advance(share, f"epoch {epoch + 1}, loss {loss_sum / min(start + size, len(order)):.4f}")
        mean = loss_sum / len(order)
        if not math.isfinite(mean):
            raise FailedError(
                expected="a finite loss", got=f"{mean} in epoch {epoch + 1}", remedy="Lower the learning rate."
            )
        self.epochs.append(EpochRecord(epoch=epoch + 1, loss=mean, accuracy=hits / answers))

    def _update(self, index: list[int], noise: torch.Generator, rng: Rng) -> BatchLoss:
        """One step of the optimisers; returns what the batch was like before it."""
        assert self.images.labels is not None
        device = self.model.device
        pixels = self.augment(self.images.images(index).to(device), generator=noise)
        labels = self.images.labels[index].to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            batch = self.objective.loss(self.model, pixels, labels, companions=self.companions, rng=rng)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        batch.loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return batch

    def _set_rate(self, step: int) -> None:
        factor = self.schedule.factor(step, self.recipe.epochs * self.steps_per_epoch, self.steps_per_epoch)
        for optimizer, rates in zip(self.optimizers, self.base_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def finish(self) -> None:
        """Bring everything into the state that whoever uses it expects."""
        for parameter in self.at_rest:
            parameter.requires_grad_(True)
        for module in (self.model.module, *self.companions.values()):
            module.eval()

    def keep(self, path: Path) -> None:
        state: dict[str, Any] = {
            "identity": self.identity,
            "model": self.model.module.state_dict(),
            "companions": {name: companion.state_dict() for name, companion in self.companions.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "epochs": [asdict(e) for e in self.epochs],
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(path, buffer.getvalue())

    def restore(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.model.device, weights_only=True)
            known = state["identity"]
        except Exception as error:
            raise OutputError(
                expected=f"a checkpoint of this training in {path}", got="another file", remedy="Move it away."
            ) from error
        if known != self.identity:
            raise OutputError(
                expected=f"the checkpoint {path} to belong to this training",
                got="one of another model, data set, recipe or seed",
                remedy="Choose another output, or start over with --fresh.",
            )
        self.model.module.load_state_dict(state["model"])
        for name, companion in self.companions.items():
            companion.load_state_dict(state["companions"][name])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.epochs = [EpochRecord(**e) for e in state["epochs"]]

    def record(self) -> TrainingRecord:
        return TrainingRecord(
            recipe=str(spec_of(self.recipe)),
            seed=self.rng.seed,
            images=len(self.images),
            data_name=self.images.name,
            data_digest=self.images.digest(),
            epochs=tuple(self.epochs),
            stopped=self.stopped,
            test_accuracy=None,
            test_name=None,
            start_digest=self.start_digest,
        )


def _digest(module: nn.Module) -> str:
    return hashlib.sha256(b"".join(state_bytes(module))).hexdigest()


def _resting(module: nn.Module, layers: tuple[str, ...]) -> list[nn.Module]:
    """The modules whose own weights and batch statistics stay as they are: all but those layers and all below them."""
    names = dict(module.named_modules())
    missing = [name for name in layers if name not in names]
    if missing:
        raise UsageError(
            expected=f"layers out of {', '.join(name for name in names if name)}",
            got=f"{missing}",
            remedy="Name layers of the model in the recipe.",
        )
    if not layers:
        return []
    return [m for name, m in names.items() if not any(f"{name}.".startswith(f"{layer}.") for layer in layers)]
