"""Training on images that may be poisoned: the verb, and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from mantrap.core.classifier import Classifier
from mantrap.core.imageset import ImageSet
from mantrap.core.progress import SILENT, Progress
from mantrap.core.results import Cost
from mantrap.core.rng import Rng
from mantrap.records import TrainingRecord


@dataclass(frozen=True, eq=False)
class SafelyTrained:
    """A model that was trained on a set of which a part may be poisoned.

    Args:
        model: The classifier, in eval mode.
        training: How it came about.
        apart: Numbers of the images whose labels it has not learned, in order.
        labels: How many of them have each label, by label.
        cost: What all of it cost.
        notes: What the reader must know, in plain sentences.
    """

    model: Classifier
    training: TrainingRecord
    apart: tuple[int, ...]
    labels: Mapping[int, int] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    notes: tuple[str, ...] = ()


@runtime_checkable
class SafeTraining(Protocol):
    """Trains on images that may be poisoned, so that the model does not learn the backdoor.

    A safe training is a frozen dataclass of hyperparameters. It gets the set and a recipe, never the attack or images
    that are known to be clean; the model that comes in stays bitwise as it is; the same ``rng`` gives the same result.
    """

    name: ClassVar[str]
    quick: ClassVar[str]

    def train(
        self,
        model: Classifier,
        suspects: ImageSet,
        *,
        recipe: str,
        rng: Rng,
        progress: Progress = SILENT,
        checkpoint: Path | None = None,
    ) -> SafelyTrained:
        """A model that learned from the set what is not poison.

        Args:
            model: Where to start, best with fresh weights.
            suspects: The training set, with labels.
            recipe: Spec of the training recipe.
            rng: Source of randomness.
            progress: Observer of the work.
            checkpoint: File that keeps the state, and from which a killed training goes on; others may lie beside it
                whose names begin with its own.

        Raises:
            DataError: No labels, labels outside the model's classes, or images of another shape than the model takes.
            FailedError: The training diverged, or nothing was left to learn from.
            OutputError: The checkpoint belongs to another training.
        """
