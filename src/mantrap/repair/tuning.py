"""Training a model on, on the few images that there are."""

import math
from dataclasses import dataclass, replace

import torch

from mantrap.core import Classifier, Cost, ImageSet, Progress, Rng, require
from mantrap.errors import FailedError, UsageError
from mantrap.ops.scores import predictions
from mantrap.training import (
    AUGMENTATIONS,
    CROSS_ENTROPY,
    OPTIMIZERS,
    SCHEDULES,
    Objective,
    Recipe,
    check_fits,
    fit,
    trainable,
)

_SHOWN = 32
"""Images on which it is seen whether a trained model answers at all."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a model is trained on.

    Args:
        epochs: Passes over the images, at least.
        updates: Updates, at least: of few images there are more passes.
        batch_size: Images in one update.
        optimizer: Spec of an optimiser.
        schedule: Spec of a learning rate schedule.
        augment: Spec of an augmentation.
    """

    epochs: int = 1
    updates: int = 200
    batch_size: int = 32
    optimizer: str = "adam(lr=0.001)"
    schedule: str = "cosine"
    augment: str = "none"

    def __post_init__(self) -> None:
        for field, least in (("epochs", 1), ("updates", 0), ("batch_size", 2)):
            value = getattr(self, field)
            require(value >= least, field=field, expected=f"of at least {least}", got=value)
        OPTIMIZERS.create(self.optimizer)
        SCHEDULES.create(self.schedule)
        AUGMENTATIONS.create(self.augment)

    def recipe(self, images: int) -> Recipe:
        """The recipe for so many images."""
        epochs = max(self.epochs, math.ceil(self.updates / math.ceil(images / self.batch_size)))
        return Recipe(
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            schedule=self.schedule,
            augment=self.augment,
        )

    def tuned(
        self,
        model: Classifier,
        learned: ImageSet,
        *,
        rng: Rng,
        progress: Progress,
        objective: Objective = CROSS_ENTROPY,
        layers: tuple[str, ...] = (),
    ) -> tuple[Classifier, Cost]:
        """The model, trained on, and what that cost.

        Args:
            model: Where to start; it stays as it is.
            learned: Images with labels, such as :meth:`whole_batches` gives.
            rng: Source of randomness.
            progress: Observer of the work.
            objective: What to minimise.
            layers: Names of the layers to train; all where empty.

        Raises:
            FailedError: The training diverged.
        """
        recipe = replace(self.recipe(len(learned)), layers=layers)
        with torch.enable_grad():
            start = trainable(model)
            made = fit(start, learned, recipe=recipe, rng=rng, objective=objective, progress=progress).model
        shown = learned.images(range(min(_SHOWN, len(learned)))).to(made.device)
        with made.frozen(), torch.no_grad():
            if not bool(made.logits(shown).isfinite().all()):
                raise FailedError(expected="finite logits", got="others, after training", remedy="Shorten the steps.")
        seen = recipe.epochs * len(learned)
        return made, Cost(forward=seen + len(shown), backward=seen)

    def whole_batches(self, images: ImageSet) -> ImageSet:
        """The images, without the last one where it would be a batch of its own: that has no statistics.

        Raises:
            UsageError: There is but one.
        """
        if len(images) == 1:
            raise UsageError(expected="two images to learn from, at least", got="one", remedy="Give more images.")
        return images.subset(range(len(images) - 1)) if len(images) % self.batch_size == 1 else images


def with_answers(model: Classifier, images: ImageSet) -> tuple[ImageSet, Cost]:
    """The images with their labels, or where they have none with the model's own answers.

    Raises:
        DataError: Images of another shape than the model takes, or labels that it does not have.
    """
    cost = Cost() if images.labelled else Cost(forward=len(images))
    if not images.labelled and images.shape == model.input_shape:
        images = images.with_labels(predictions(model, images))
    check_fits(model, images)
    return images, cost
