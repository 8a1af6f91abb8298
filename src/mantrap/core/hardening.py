"""Training against adversarial examples: the verb, and what it gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from mantrap.core.classifier import Classifier
from mantrap.core.imageset import ImageSet
from mantrap.core.progress import SILENT, Progress
from mantrap.core.rng import Rng
from mantrap.records import TrainingRecord


@dataclass(frozen=True, eq=False)
class Hardened:
    """A model that was trained against adversarial examples.

    Args:
        model: The classifier, in eval mode.
        training: How it came about, with what attacks on it came to after every epoch.
        notes: What the reader must know, in plain sentences.
    """

    model: Classifier
    training: TrainingRecord
    notes: tuple[str, ...] = ()


@runtime_checkable
class Hardening(Protocol):
    """Trains on images that are made to mislead the model while it learns, so that they mislead it less.

    A hardening is a frozen dataclass of hyperparameters. The model that comes in stays bitwise as it is; the same
    ``rng`` gives the same result, whether the training ran through or was killed and went on.
    """

    name: ClassVar[str]
    quick: ClassVar[str]

    def train(
        self,
        model: Classifier,
        images: ImageSet,
        *,
        recipe: str,
        rng: Rng,
        progress: Progress = SILENT,
        checkpoint: Path | None = None,
    ) -> Hardened:
        """A model that learned from the images as they are, as they mislead it, or from both.

        Args:
            model: Where to start; on the device to train on.
            images: Labelled images.
            recipe: Spec of the training recipe.
            rng: Source of randomness.
            progress: Observer of the work.
            checkpoint: File that keeps the state, and from which a killed training goes on.

        Raises:
            DataError: No labels, labels outside the model's classes, or images of another shape than the model takes.
            FailedError: The training diverged.
            ModelError: The model's answer has no gradient by the pixels, and the hardening needs one.
            OutputError: The checkpoint belongs to another training.
            UsageError: A perturbation may be larger than any image, or the recipe names layers that are not there.
        """
