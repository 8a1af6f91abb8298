"""Triggers that may be so large and no larger: what is measured is how far the model comes to answer as it shall.

A search for the smallest trigger that works has no answer where none works on nearly all images, and no size says how
nearly one did.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from mantrap.core import Classifier, Rng
from mantrap.core.shapes import Images
from mantrap.detect.passes import Arm, ArmPasses, Pace, Triggers

_LEAST = 1e-4
"""A usual margin below this is none."""


@runtime_checkable
class SharpPace(Pace, Protocol):
    """How long arms are searched, and how."""

    @property
    def sharpness(self) -> float:
        """How fast an image is let go whose margin is far from what is wanted.

        The loss is a logistic function of the margin, 1 over this wide in units of the usual margin of the model's
        answers.
        """


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
        pace: SharpPace,
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
