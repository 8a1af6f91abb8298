"""Patches that have to do with less and less room: how well they still do says how small a trigger can be.

A search for the smallest patch that works has no answer where none works on nearly all images, and no size says how
nearly one did. Here the size is given and falls step by step, and what is measured is how far the model comes to
answer as it shall. Images that are out of reach are let go: of some backdoors a part of the classes knows nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mantrap.core import Classifier, Rng, require
from mantrap.core.shapes import Images
from mantrap.detect.arm_triggers import PatchArms
from mantrap.detect.limited import Limited, LimitedSearch
from mantrap.detect.passes import Arm, streams_of

_FRESH = 0.3
"""Weight of a step in the moving average by which the best patch of an arm is chosen."""


@dataclass(frozen=True, kw_only=True)
class Shrinking(Limited):
    """How patches shrink.

    Args: those of :class:`~mantrap.detect.limited.Limited`, and:
        begin: Share of the image that a patch may cover at first.
        end: The same that it falls towards.
        wait: Share of the steps, the first ones, before patches begin to shrink.
        measure: The same before it counts how well they do; the last step always counts.
    """

    images_per_step: int = 12
    begin: float = 0.15
    end: float = 0.006
    wait: float = 0.25
    measure: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("wait", "measure"):
            require(0 <= getattr(self, field) < 1, field=field, expected="in [0, 1)", got=getattr(self, field))
        require(0 < self.begin <= 1, field="begin", expected="in (0, 1]", got=self.begin)
        require(0 < self.end <= self.begin, field="end", expected="above 0 and at most begin", got=self.end)

    def share(self, step: int) -> float:
        """Share of the image that patches may cover after a step; it falls by the same factor every step."""
        way = max(0.0, (step / self.steps - self.wait) / (1 - self.wait))
        return float(self.begin * (self.end / self.begin) ** way)


class ShrinkingSearch(LimitedSearch):
    """The search of some arms for patches that shrink.

    Args:
        model: The classifier, frozen; best a fast copy.
        images: Images to search with, [n, c, h, w] in [0, 1], on the model's device.
        arms: What to search for.
        shrinking: How.
        rng: Source of randomness.
        at_once: Images in one pass through the model, at least; an arm's images stay together.
    """

    def __init__(
        self,
        model: Classifier,
        images: Images,
        arms: Sequence[Arm],
        shrinking: Shrinking,
        rng: Rng,
        *,
        at_once: int,
    ) -> None:
        starts = [stream.child("start") for stream in streams_of(arms, rng)]
        self.patches = PatchArms().begin(model.input_shape, arms, starts, images.device)
        super().__init__(model, images, arms, shrinking, rng, at_once=at_once, triggers=self.patches)
        self.shrinking = shrinking
        self._lately = torch.zeros(len(arms), device=images.device)
        self._free = torch.zeros_like(self._lately)
        self._most = torch.full_like(self._lately, -1.0)
        self._classes = self.answers.to(images.device)[self.shown]
        self._sums = torch.zeros(len(arms), model.num_classes, device=images.device)
        self._counts = torch.zeros_like(self._sums)
        self._shrink()

    def advance(self) -> None:
        """One step of every arm."""
        self._look()
        if self.step >= min(self.shrinking.measure * self.shrinking.steps, self.shrinking.steps - 1):
            self._lately.lerp_(self.likely.mean(1), _FRESH if self._most.min() >= 0 else 1.0)
            better = self._lately > self._most
            self._most = torch.where(better, self._lately, self._most)
            self.patches.keep(better)
            classes = self._classes[:, self.step]
            self._sums.scatter_add_(1, classes, self.likely)
            self._counts.scatter_add_(1, classes, torch.ones_like(self.likely))
        self.patches.descend(self._free)
        self._shrink()
        self.step += 1

    def _shrink(self) -> None:
        height, width = self.model.input_shape[1:]
        self.patches.shrink(self.shrinking.share(self.step) * height * width)

    def likely_but_for_one(self) -> list[float]:
        """For each arm how likely the wanted label was, in the mean over classes of images but the likeliest.

        That two classes are alike moves one of them far; a trigger for all of them does not depend on one.
        """
        found = []
        for total, count in zip(self._sums.tolist(), self._counts.tolist(), strict=True):
            by_class = sorted(t / c for t, c in zip(total, count, strict=True) if c)
            rest = by_class[:-1] or by_class
            found.append(sum(rest) / len(rest))
        return found
