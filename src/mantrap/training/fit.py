"""Train a classifier: deterministic, resumable, and it says why it stopped."""

import copy
import io
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.nn.functional import cross_entropy

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Stage, require, spec_of
from mantrap.errors import DataError, FailedError, OutputError
from mantrap.records import EpochRecord, TrainingRecord
from mantrap.records.files import write_atomically
from mantrap.training.augment import AUGMENTATIONS
from mantrap.training.optimizers import OPTIMIZERS
from mantrap.training.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: everything but the network, the images and the seed.

    Args:
        epochs: Most passes over the images.
        batch_size: Images in one update; 1 is plain stochastic gradient descent.
        optimizer: Spec of an optimiser.
        schedule: Spec of a learning rate schedule.
        augment: Spec of an augmentation.
        tolerance: An epoch improves when its mean loss is lower than the best by more than this.
        patience: Epochs without improvement after which the training has converged; 0 never stops early.
    """

    name: ClassVar[str] = "recipe"

    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adam"
    schedule: str = "constant"
    augment: str = "none"
    tolerance: float = 1e-4
    patience: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            value = getattr(self, name)
            require(value >= least, field=name, expected=f"of at least {least}", got=value)
        require(self.tolerance >= 0, field="tolerance", expected="of at least 0", got=self.tolerance)
        OPTIMIZERS.create(self.optimizer)
        SCHEDULES.create(self.schedule)
        AUGMENTATIONS.create(self.augment)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier and how it came about."""

    model: Classifier
    record: TrainingRecord


def fit(
    model: Classifier,
    images: ImageSet,
    *,
    recipe: Recipe,
    rng: Rng,
    progress: Progress = SILENT,
    checkpoint: Path | None = None,
) -> Trained:
    """Minimise the cross-entropy on labelled images.

    The model that comes in is not changed. The same model, images, recipe and seed give the same weights on the same
    machine and number of threads, whether the training ran through or was killed and resumed after any epoch.

    Args:
        model: Where to start; on the device to train on.
        images: Labelled images.
        recipe: How to train.
        rng: Source of randomness for order, augmentation and dropout.
        progress: Observer; one unit an epoch.
        checkpoint: File that keeps the state after every epoch, and from which a killed training goes on.

    Returns:
        The trained model in eval mode, and the record; ``stopped`` is ``"converged"`` or ``"last epoch"``.

    Raises:
        DataError: No labels, or labels outside the model's classes.
        FailedError: The loss is not finite any more.
        OutputError: The checkpoint belongs to another training.
    """
    if images.labels is None or int(images.labels.max()) >= model.num_classes:
        got = "no labels" if images.labels is None else f"label {int(images.labels.max())}"
        raise DataError(
            expected=f"labels from 0 to {model.num_classes - 1} for {images.name}",
            got=got,
            remedy="Give labels that fit the model, or train a model with more classes.",
        )
    run = _Run(model, images, recipe, rng)
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    with progress.stage("train", recipe.epochs) as stage:
        stage.advance(len(run.epochs), "from the run before" if run.epochs else "")
        while not run.stopped:
            run.one_epoch(stage)
            if checkpoint is not None:
                run.keep(checkpoint)
    run.model.module.eval()
    return Trained(run.model, run.record())


class _Run:
    """The state of one training between two epochs; it owns a copy of the model."""

    def __init__(self, model: Classifier, images: ImageSet, recipe: Recipe, rng: Rng) -> None:
        self.model = copy.copy(model)
        self.model.module = copy.deepcopy(model.module)
        self.images, self.recipe, self.rng = images, recipe, rng
        self.epochs: list[EpochRecord] = []
        self.identity = f"{model.digest()} {images.digest()} {spec_of(recipe)} {rng}"
        self.optimizer = OPTIMIZERS.create(recipe.optimizer).build(self.model.module.parameters())
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
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
        loss_sum, hits = 0.0, 0
        self.model.module.train()
        with rng.child("dropout").as_global():
            for number, start in enumerate(range(0, len(order), size)):
                self._set_rate(epoch * self.steps_per_epoch + number)
                loss, right = self._update(order[start : start + size], noise)
                loss_sum, hits = loss_sum + loss, hits + right
                share = min(size, len(order) - start) / len(order)
                stage.advance(share, f"epoch {epoch + 1}, loss {loss_sum / min(start + size, len(order)):.4f}")
        mean = loss_sum / len(order)
        if not math.isfinite(mean):
            raise FailedError(
                expected="a finite loss", got=f"{mean} in epoch {epoch + 1}", remedy="Lower the learning rate."
            )
        self.epochs.append(EpochRecord(epoch=epoch + 1, loss=mean, accuracy=hits / len(order)))

    def _update(self, index: list[int], noise: torch.Generator) -> tuple[float, int]:
        """One step of the optimiser; returns the summed loss and the number of images that were right before it."""
        assert self.images.labels is not None
        device = self.model.device
        pixels = self.augment(self.images.images(index).to(device), generator=noise)
        labels = self.images.labels[index].to(device)
        logits = self.model.logits(pixels)
        loss = cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach()) * len(index), int((logits.detach().argmax(1) == labels).sum())

    def _set_rate(self, step: int) -> None:
        factor = self.schedule.factor(step, self.recipe.epochs * self.steps_per_epoch, self.steps_per_epoch)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor

    def keep(self, path: Path) -> None:
        state: dict[str, Any] = {
            "identity": self.identity,
            "model": self.model.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
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
        self.optimizer.load_state_dict(state["optimizer"])
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
        )
