"""How a training goes, in one value."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from mantrap.core import require
from mantrap.training.augment import AUGMENTATIONS
from mantrap.training.losses import LOSSES
from mantrap.training.optimizers import OPTIMIZERS
from mantrap.training.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: everything but the network, the images and the seed.

    Args:
        epochs: Most passes over the images.
        batch_size: Images in one update; 1 is plain stochastic gradient descent.
        optimizer: Spec of an optimiser.
        schedule: Spec of a learning rate schedule; what is trained along with the model follows it as well.
        augment: Spec of an augmentation.
        tolerance: An epoch improves when its mean loss is lower than the best by more than this.
        patience: Epochs without improvement after which the training has converged; 0 never stops early.
        layers: Names of the layers to train, with all below them, as in ``named_modules()``; all where empty. The
            others keep their weights and their batch statistics.
        precision: What convolutions and dense layers compute with. Weights are single precision in any case; with
            ``"bfloat16"`` a training takes about half the time on processors that have it in hardware, and longer on
            others.
        loss: Spec of what is minimised; attacks and hardenings that train have one of their own.
    """

    name: ClassVar[str] = "recipe"

    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adam"
    schedule: str = "constant"
    augment: str = "none"
    tolerance: float = 1e-4
    patience: int = 0
    layers: tuple[str, ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            value = getattr(self, name)
            require(value >= least, field=name, expected=f"of at least {least}", got=value)
        require(self.tolerance >= 0, field="tolerance", expected="of at least 0", got=self.tolerance)
        OPTIMIZERS.create(self.optimizer)
        SCHEDULES.create(self.schedule)
        AUGMENTATIONS.create(self.augment)
        LOSSES.create(self.loss)
