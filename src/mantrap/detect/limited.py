"""Triggers that may be so large and no larger: what is measured is how far the model comes to answer as it shall.

A search for the smallest trigger that works has no answer where none works on nearly all images, and no size says how
nearly one did.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from mantrap.core import Classifier, Rng, require
from mantrap.core.shapes import Images
from mantrap.detect.passes import Arm, ArmPasses, Triggers

_LEAST = 1e-4
"""A usual margin below this is none."""


@dataclass(frozen=True, kw_only=True)
class Limited:
    """How arms are searched whose triggers may be so large and no larger.

    Args:
        steps: Steps of every arm.
        images_per_step: Images that an arm looks at in a step.
        sharpness: How fast an image is let go whose margin is far from what is wanted: the loss is a logistic function
            of the margin, which is 1 over this wide in units of the usual margin of the model's answers.
    """

    steps: int = 40
    images_per_step: int = 8
    sharpness: float = 3.0

    def __post_init__(self) -> None:
        for field in ("steps", "images_per_step"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))
        require(self.sharpness > 0, field="sharpness", expected="above 0", got=self.sharpness)


class LimitedSearch(ArmPasses):
    """The search of some arms for triggers that bring images near to a label.

    Args:
        model: As for :class:`ArmPasses`.
        images: The same.
        arms: The same.
        pace: The same, and how fast images are let go.
        rng: The same.
        at_once: The same.
        triggers: The same.
    """

    def __init__(
        self,
        model: Classifier,
        images: Images,
        arms: Sequence[Arm],
        pace: Limited,
        rng: Rng,
        *,
        at_once: int,
        triggers: Triggers,
    ) -> None:
        super().__init__(model, images, arms, pace, rng, at_once=at_once, triggers=triggers)
        self._sharpness = pace.sharpness / max(self.usual_margin, _LEAST)

    def _near(self, logits: Float[Tensor, "n k"], wanted: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """How near each image is to its wanted label: 0 if far from it, a half on the border, 1 if far beyond that."""
        aims = wanted[:, None]
        others = logits.scatter(1, aims, -math.inf).logsumexp(1)
        near: Tensor = (self._sharpness * (logits.gather(1, aims)[:, 0] - others)).sigmoid()
        return near

    def _loss(self, logits: Float[Tensor, "n k"], wanted: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """How far images are from the labels that are wanted."""
        return -self._near(logits, wanted).sum()
