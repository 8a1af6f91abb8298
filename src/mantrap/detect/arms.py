"""Searches for the smallest triggers of many labels at once: how small follows from how well they work."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mantrap.core import Classifier, ReversedTrigger, Rng, require
from mantrap.core.shapes import Images
from mantrap.detect.passes import Arm, ArmPasses, Triggers, streams_of

_UNLIKELY = 1e-6
"""Log odds are taken of numbers so far from 0 and 1, and logarithms of no smaller ones."""
_SMALL = 6.0
"""What the logarithm of a norm counts beside log odds."""


class SizedTriggers(Triggers):
    """Triggers that have a size, and the smallest of each arm that worked."""

    best: dict[str, Tensor]
    """What the smallest triggers are made of, [a, ...]; those of the beginning where none worked."""

    @abstractmethod
    def norms(self) -> Float[Tensor, " a"]:
        """How large each trigger is."""

    @abstractmethod
    def keep(self, better: Bool[Tensor, " a"]) -> None:
        """Remember the triggers of these arms as they are."""

    @abstractmethod
    def only(self, arms: Int[Tensor, " m"]) -> None:
        """Go on with these arms alone, by number, in rising order."""

    @abstractmethod
    def descend(self, cost: Float[Tensor, " a"]) -> None:
        """One step down the slopes that were noted, and down the norm as far as it costs."""


@dataclass(frozen=True, kw_only=True)
class ArmSettings(ABC):
    """How arms are searched, whatever their triggers are.

    Args:
        steps: Steps of every arm.
        images_per_step: Images that an arm looks at in a step.
        warm_up: Share of the steps, the first ones, in which the norm costs nothing.
        initial_cost: Weight of the norm when it begins to count.
        cost_multiplier: Factor by which the weight grows after a step at which the trigger works; else it shrinks by
            the 1.5th power.
        smoothing: How slowly an arm's success follows its steps: the weight of the past in a moving average, in [0, 1).
        success_threshold: The average from which a trigger works.
        restarts: Beginnings for each label; the smallest trigger of any counts.
        labels_at_once: Labels that are searched together at most: what is lost when a run is killed.
        memory: Memory that the search may take beside the model's weights, in GiB.
    """

    steps: int = 60
    images_per_step: int = 6
    warm_up: float = 0.2
    initial_cost: float = 0.01
    cost_multiplier: float = 1.05
    smoothing: float = 0.8
    success_threshold: float = 0.98
    restarts: int = 2
    labels_at_once: int = 16
    memory: float = 2.0

    def __post_init__(self) -> None:
        for field in ("steps", "images_per_step", "restarts", "labels_at_once"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))
        require(0 <= self.warm_up < 1, field="warm_up", expected="in [0, 1)", got=self.warm_up)
        require(self.initial_cost > 0, field="initial_cost", expected="above 0", got=self.initial_cost)
        require(self.cost_multiplier > 1, field="cost_multiplier", expected="above 1", got=self.cost_multiplier)
        require(0 <= self.smoothing < 1, field="smoothing", expected="in [0, 1)", got=self.smoothing)
        share = self.success_threshold
        require(0 < share <= 1, field="success_threshold", expected="in (0, 1]", got=share)
        require(self.memory > 0, field="memory", expected="above 0 GiB", got=self.memory)

    @abstractmethod
    def begin(
        self, shape: tuple[int, int, int], arms: Sequence[Arm], streams: Sequence[Rng], device: torch.device
    ) -> SizedTriggers:
        """The triggers that arms begin with, each drawn from its own stream."""

    @abstractmethod
    def go_on(self, made_of: Mapping[str, Tensor]) -> SizedTriggers:
        """Triggers made of these tensors, [a, ...], to be searched on from."""

    @abstractmethod
    def slower(self, share: float) -> Self:
        """The same with steps of this share of their length."""

    @abstractmethod
    def recovered(self, target: int, made_of: Mapping[str, Tensor]) -> ReversedTrigger:
        """The trigger that the tensors of one arm make, without the dimension of the arms."""


class ArmSearch(ArmPasses):
    """The search of some arms for the smallest triggers that work.

    Args:
        model: As for :class:`ArmPasses`.
        images: The same.
        arms: What to search for.
        settings: How, and for what kind of triggers.
        rng: As for :class:`ArmPasses`.
        at_once: The same.
        triggers: Where the arms begin; ``None`` for beginnings that the settings draw.
    """

    triggers: SizedTriggers

    def __init__(
        self,
        model: Classifier,
        images: Images,
        arms: Sequence[Arm],
        settings: ArmSettings,
        rng: Rng,
        *,
        at_once: int,
        triggers: SizedTriggers | None = None,
    ) -> None:
        starts = [stream.child("start") for stream in streams_of(arms, rng)]
        begun = triggers or settings.begin(model.input_shape, arms, starts, images.device)
        super().__init__(model, images, arms, settings, rng, at_once=at_once, triggers=begun)
        self.settings, place = settings, images.device
        self.cost: Float[Tensor, " a"] = torch.zeros(len(arms), device=place)
        self.success: Float[Tensor, " a"] = torch.zeros(len(arms), device=place)
        self.likely_so_far: Float[Tensor, " a"] = torch.zeros(len(arms), device=place)
        """The sum over steps of how likely the model found the wanted label, in the mean over images."""
        self.best_norm: Float[Tensor, " a"] = torch.full((len(arms),), math.inf, device=place)

    def run(self) -> None:
        """All steps.

        Raises:
            FailedError: The model's output is not finite.
        """
        for _ in range(self.settings.steps):
            self.advance()

    def nearness(self) -> Float[Tensor, " a"]:
        """How near each arm is to a small trigger that works: higher for those that work well and are small.

        The log odds of how likely the wanted label was over all steps so far, less the logarithm of the norm, which
        counts for more.
        """
        likely = (self.likely_so_far / max(self.step, 1)).clamp(_UNLIKELY, 1 - _UNLIKELY)
        return likely.logit() - _SMALL * self.triggers.norms().clamp_min(_UNLIKELY).log()

    def only(self, arms: Int[Tensor, " m"]) -> None:
        """Go on with these arms alone, by number, in rising order; what is found of them does not depend on it."""
        self.arms = tuple(self.arms[i] for i in arms.tolist())
        self.shown, self.wanted, self.likely = self.shown[arms], self.wanted[arms], self.likely[arms]
        self.cost, self.success, self.best_norm = self.cost[arms], self.success[arms], self.best_norm[arms]
        self.likely_so_far = self.likely_so_far[arms]
        self.triggers.only(arms)

    def advance(self) -> None:
        """One step of every arm."""
        settings = self.settings
        share = self._look() / settings.images_per_step
        self.likely_so_far += self.likely.mean(1)
        self.success = share if self.step == 0 else settings.smoothing * self.success + (1 - settings.smoothing) * share
        works, norms = self.success >= settings.success_threshold, self.triggers.norms()
        better = works & (norms < self.best_norm)
        self.best_norm = torch.where(better, norms, self.best_norm)
        self.triggers.keep(better)
        self.triggers.descend(self.cost)
        if self.step >= settings.warm_up * settings.steps:
            factor = settings.cost_multiplier
            changed = torch.where(works, self.cost * factor, self.cost / factor**1.5)
            first = torch.where(works, settings.initial_cost, 0.0)
            self.cost = torch.where(self.cost == 0, first, changed)
        self.step += 1
