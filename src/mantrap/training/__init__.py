"""Train and evaluate classifiers; nothing here knows an attack."""

from mantrap.training.augment import AUGMENTATIONS
from mantrap.training.checks import check_fits, still, trainable
from mantrap.training.evaluate import evaluate
from mantrap.training.fit import Trained, fit
from mantrap.training.losses import LOSSES
from mantrap.training.objectives import CROSS_ENTROPY, BatchLoss, Objective, entropy
from mantrap.training.optimizers import OPTIMIZERS
from mantrap.training.recipe import Recipe
from mantrap.training.schedules import SCHEDULES

__all__ = [
    "AUGMENTATIONS",
    "CROSS_ENTROPY",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "BatchLoss",
    "Objective",
    "Recipe",
    "Trained",
    "check_fits",
    "entropy",
    "evaluate",
    "fit",
    "still",
    "trainable",
]
