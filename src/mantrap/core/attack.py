"""The attackers' protocols and results. No defender may import this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor

from mantrap.core.classifier import Classifier
from mantrap.core.imageset import ImageSet
from mantrap.core.progress import SILENT, Progress
from mantrap.core.rng import Rng
from mantrap.core.shapes import Images, Labels
from mantrap.core.trigger import Trigger
from mantrap.core.truth import GroundTruth
from mantrap.records import TrainingRecord

Chosen = Bool[Tensor, " n"]
"""Yes or no for each image of a set."""


@runtime_checkable
class NamedTrigger(Trigger, Protocol):
    """A trigger that a spec string says all about."""

    name: ClassVar[str]


@runtime_checkable
class StoredTrigger(Protocol):
    """A trigger that is a spec string and tensors: a generator's weights, say, or the pixels of a picture."""

    name: ClassVar[str]

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger that these tensors make."""


@runtime_checkable
class LearnedTrigger(StoredTrigger, Protocol):
    """A stored trigger that is made before the poisoning, from a model, from images, or from a file."""

    def learn(
        self,
        images: ImageSet,
        *,
        model: Classifier | None,
        target: int | None,
        rng: Rng,
        progress: Progress = SILENT,
    ) -> dict[str, Tensor]:
        """What :meth:`restore` takes.

        Args:
            images: The training set, before the poisoning.
            model: A classifier that the attacker has, for triggers that need one.
            target: The label that the trigger shall lead to, where there is one.
            rng: Source of randomness.
            progress: Observer of the work.

        Raises:
            UsageError: The trigger needs a model or a target and there is none.
        """


@runtime_checkable
class Selection(Protocol):
    """Chooses which images of a training set to poison."""

    name: ClassVar[str]

    def choose(self, eligible: Sequence[int], *, total: int, rng: Rng) -> list[int]:
        """Indices out of ``eligible``, ascending. A rate is a share of ``total``."""


@runtime_checkable
class Relabelling(Protocol):
    """Says whom an attack is aimed at and what shall come out."""

    name: ClassVar[str]

    @property
    def target(self) -> int | None:
        """The one label that all attacked images shall have, where there is just one."""

    def eligible(self, labels: Labels) -> list[int]:
        """Indices of the training images that may be poisoned."""

    def total(self, labels: Labels) -> int:
        """Number of images that a poison rate refers to."""

    def coverable(self, labels: Labels) -> list[int]:
        """Indices of the training images that may carry the trigger and keep their label."""

    def relabel(self, labels: Labels, *, num_classes: int, rng: Rng) -> Labels:
        """The labels that poisoned images get."""

    def attacked(self, labels: Labels) -> Chosen:
        """Which test images the attack is measured on."""

    def spared(self, labels: Labels) -> Chosen:
        """Which test images the trigger shall leave as they are."""

    def succeeds(self, outcomes: Labels, labels: Labels, *, num_classes: int) -> Chosen:
        """Which outcomes for triggered images are what the attacker wants."""


@runtime_checkable
class Preparation(Protocol):
    """Changes the images that were chosen before the trigger goes on them, so that they are hard to learn otherwise."""

    name: ClassVar[str]

    def prepare(self, images: Images, labels: Labels, *, model: Classifier | None, rng: Rng) -> Images:
        """The changed images, [n, c, h, w] in [0, 1].

        Raises:
            UsageError: It needs a model and there is none.
        """


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set, and the truth about it, which goes another way."""

    data: ImageSet
    truth: GroundTruth
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Implanted:
    """A model with a backdoor in it, the truth about it, which goes another way, and how it was trained, if it was."""

    model: Classifier
    truth: GroundTruth
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    training: TrainingRecord | None = None


@runtime_checkable
class DataAttack(Protocol):
    """Poisons a training set; whoever trains on it trains the backdoor."""

    name: ClassVar[str]
    quick: ClassVar[str]

    def apply(
        self, data: ImageSet, *, model: Classifier | None = None, rng: Rng, progress: Progress = SILENT
    ) -> Poisoned:
        """The poisoned set, and the truth about it.

        Args:
            data: The training set, with labels; unchanged.
            model: A classifier that the attacker has, for attacks that need one.
            rng: Source of randomness.
            progress: Observer of the work.

        Raises:
            DataError: The images have no labels.
            UsageError: The attack does not fit the set, or needs a model and there is none.
        """


@runtime_checkable
class ModelAttack(Protocol):
    """Trains or changes a model so that it carries a backdoor; poisoned data alone would not do."""

    name: ClassVar[str]
    quick: ClassVar[str]

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
        """A model with a backdoor, and the truth about it.

        Args:
            model: Where to start, with fresh or with trained weights, as the attack has it; unchanged.
            data: Labelled images that the attacker has.
            recipe: Spec of the training recipe.
            rng: Source of randomness.
            progress: Observer of the work.
            checkpoint: File that keeps the state, and from which a killed attack goes on.

        Raises:
            DataError: The images do not fit the model or the attack.
            UsageError: The attack does not fit the model.
            FailedError: The training diverged.
        """
