"""Guards: whether an input carries a trigger, before and after they have seen clean images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mantrap.core.classifier import Classifier
from mantrap.core.imageset import ImageSet
from mantrap.core.progress import SILENT, Progress
from mantrap.core.results import Cost, ReversedTrigger
from mantrap.core.rng import Rng
from mantrap.core.shapes import Images
from mantrap.errors import DataError, FailedError

Suspicion = Float[Tensor, " n"]
"""How suspicious each image is; higher is more so."""
Scorer: TypeAlias = Callable[[Images], Suspicion]


@runtime_checkable
class Guard(Protocol):
    """Tells inputs that carry a trigger from those that do not.

    A guard is a frozen dataclass of hyperparameters. It gets clean images and, where it asks for them, triggers that
    somebody recovered, never the attack; the model stays bitwise as it is; the same ``rng`` gives the same result.
    """

    name: ClassVar[str]
    quick: ClassVar[str]
    needs_triggers: ClassVar[bool]

    @property
    def passes(self) -> int:
        """Images that a network looks at for each image that is scored."""

    def fit(
        self,
        model: Classifier,
        clean: ImageSet,
        *,
        triggers: Sequence[ReversedTrigger] = (),
        fpr: float,
        rng: Rng,
        progress: Progress = SILENT,
    ) -> "FittedGuard":
        """The guard of one model, with a threshold.

        Args:
            model: The classifier whose inputs are guarded.
            clean: Clean images; labels are not looked at.
            triggers: What was recovered, each with the label that it leads to.
            fpr: Share of clean images that may be flagged, in (0, 1): the expected share, over draws of the images.
            rng: Source of randomness.
            progress: Observer of the work.

        Raises:
            DataError: Images that do not fit the model.
            UsageError: Too few images for the rate, or a trigger that is needed and is not there or does not fit.
        """

    def scorer(self, model: Classifier, learned: Mapping[str, Tensor]) -> Scorer:
        """How a fitted guard scores images of a model that is frozen, on the model's device.

        Args:
            model: The classifier whose inputs are guarded.
            learned: What the guard has learned, as in :attr:`FittedGuard.learned`.

        Raises:
            RecordError: What was learned is not what this guard learns from this model.
        """


@dataclass(frozen=True, eq=False)
class FittedGuard:
    """A guard that knows its model: it scores images and flags those above its threshold.

    It holds the model, for images alone say nothing; a file of it holds only what was learned and the model's digest.

    Args:
        guard: Its hyperparameters.
        model: The classifier whose inputs are guarded.
        learned: What was learned from clean images, by name.
        threshold: Images that score above it are flagged.
        fpr: Share of clean images that the threshold was set for, in (0, 1).
        calibrated_on: Clean images that the threshold comes from; nothing else was learned from these.
        cost: What fitting cost.
        notes: What the reader must know, in plain sentences.
    """

    guard: Guard
    model: Classifier
    learned: Mapping[str, Tensor]
    threshold: float
    fpr: float
    calibrated_on: int
    cost: Cost
    notes: tuple[str, ...] = ()

    @cached_property
    def scorer(self) -> Scorer:
        """How it scores images, on the model's device, of a model that is frozen; :meth:`score` checks what it gets."""
        return self.guard.scorer(self.model, self.learned)

    def score(self, images: Images) -> Suspicion:
        """How suspicious each image is, [n], on the CPU; higher is more so. The model is frozen meanwhile.

        Args:
            images: [n, c, h, w] in [0, 1], on any device.

        Raises:
            DataError: Images of another shape than the model takes.
            FailedError: The model's output is not finite.
        """
        if tuple(images.shape[1:]) != self.model.input_shape:
            raise DataError(
                expected=f"images of {'x'.join(map(str, self.model.input_shape))}, as the model takes them",
                got=f"some of {'x'.join(map(str, images.shape[1:]))}",
                remedy="Bring them to this form, for example with --resize and --channels.",
            )
        with self.model.frozen(), torch.no_grad():
            scores = self.scorer(images.to(self.model.device)).float().cpu()
        if not bool(scores.isfinite().all()):
            raise FailedError(
                expected="finite scores",
                got=f"{int((~scores.isfinite()).sum())} of {len(scores)} that are not",
                remedy="Check the images, the model's declared preprocessing and its weights.",
            )
        return scores

    def flags(self, images: Images) -> Bool[Tensor, " n"]:
        """Whether each image scores above the threshold; arguments and errors are those of :meth:`score`."""
        return self.score(images) > self.threshold
