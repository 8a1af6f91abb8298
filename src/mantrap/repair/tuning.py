"""Training a model on, on the few images that there are."""

import math
from dataclasses import dataclass

from mantrap.core import Classifier, Cost, ImageSet, Progress, Rng, require
from mantrap.ops.scores import predictions
from mantrap.training import CROSS_ENTROPY, OPTIMIZERS, SCHEDULES, Objective, Recipe, fit


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a model is trained on.

    Args:
        epochs: Passes over the images, at least.
        updates: Updates, at least: of few images there are more passes.
        batch_size: Images in one update.
        optimizer: Spec of an optimiser.
        schedule: Spec of a learning rate schedule.
    """

    epochs: int = 1
    updates: int = 200
    batch_size: int = 32
    optimizer: str = "adam(lr=0.001)"
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        for field, least in (("epochs", 1), ("updates", 0), ("batch_size", 2)):
            value = getattr(self, field)
            require(value >= least, field=field, expected=f"of at least {least}", got=value)
        OPTIMIZERS.create(self.optimizer)
        SCHEDULES.create(self.schedule)

    def recipe(self, images: int) -> Recipe:
        """The recipe for so many images."""
        epochs = max(self.epochs, math.ceil(self.updates / math.ceil(images / self.batch_size)))
        return Recipe(epochs=epochs, batch_size=self.batch_size, optimizer=self.optimizer, schedule=self.schedule)

    def tuned(
        self,
        model: Classifier,
        learned: ImageSet,
        *,
        rng: Rng,
        progress: Progress,
        objective: Objective = CROSS_ENTROPY,
    ) -> tuple[Classifier, Cost]:
        """The model, trained on, and what that cost.

        Args:
            model: Where to start; it stays as it is.
            learned: Images with labels.
            rng: Source of randomness.
            progress: Observer of the work.
            objective: What to minimise.
        """
        if len(learned) % self.batch_size == 1 and len(learned) > 1:  # a batch of one has no statistics
            learned = learned.subset(range(len(learned) - 1))
        recipe = self.recipe(len(learned))
        made = fit(model, learned, recipe=recipe, rng=rng, objective=objective, progress=progress).model
        seen = recipe.epochs * len(learned)
        return made, Cost(forward=seen, backward=seen)


def with_answers(model: Classifier, images: ImageSet) -> tuple[ImageSet, Cost]:
    """The images with their labels, or where they have none with the model's own answers."""
    if images.labelled:
        return images, Cost()
    return images.with_labels(predictions(model, images)), Cost(forward=len(images))
