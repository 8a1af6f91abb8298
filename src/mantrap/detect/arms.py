"""Searches for the triggers of many labels at once: one tensor, one optimiser, one pass through the model for all.

A label's search may begin several times, from different places; each beginning is an arm. Arms share nothing but the
pass through the model, so what an arm finds does not depend on the company it is in, but for rounding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, ReversedTrigger, Rng, require
from mantrap.core.shapes import Images
from mantrap.detect.finite import check_finite
from mantrap.detect.goals import Goals, to_one


@dataclass(frozen=True)
class Arm:
    """One beginning of the search for one trigger.

    Args:
        target: The label that it shall lead to, or the number of another goal.
        restart: Which beginning this is.
        goals: What the number means.
        what: What to call it in a message.
    """

    target: int
    restart: int
    goals: Goals = to_one
    what: str = "label"


class Triggers(ABC):
    """The triggers of some arms while they are searched for, and the smallest of each that worked."""

    best: dict[str, Tensor]
    """What the smallest triggers are made of, [a, ...]; those of the beginning where none worked."""

    @abstractmethod
    def stamped(self, arms: slice, images: Float[Tensor, "a n c h w"]) -> Float[Tensor, "a n c h w"]:
        """The images of some arms with their triggers on them."""

    @abstractmethod
    def note(self, arms: slice, images: Float[Tensor, "a n c h w"], slopes: Float[Tensor, "a n c h w"]) -> None:
        """Take in how each arm's loss changes with the pixels of its stamped images."""

    @abstractmethod
    def norms(self) -> Float[Tensor, " a"]:
        """How large each trigger is."""

    @abstractmethod
    def keep(self, better: Bool[Tensor, " a"]) -> None:
        """Remember the triggers of these arms as they are."""

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
    ) -> Triggers:
        """The triggers that arms begin with, each drawn from its own stream."""

    @abstractmethod
    def go_on(self, made_of: Mapping[str, Tensor]) -> Triggers:
        """Triggers made of these tensors, [a, ...], to be searched on from."""

    @abstractmethod
    def slower(self, share: float) -> Self:
        """The same with steps of this share of their length."""

    @abstractmethod
    def recovered(self, target: int, made_of: Mapping[str, Tensor]) -> ReversedTrigger:
        """The trigger that the tensors of one arm make, without the dimension of the arms."""


class ArmSearch:
    """The search of some arms.

    Args:
        model: The classifier, frozen; best a fast copy.
        images: Images to search with, [n, c, h, w] in [0, 1], on the model's device. An arm is shown those that the
            model does not answer as the arm wants already.
        arms: What to search for.
        settings: How, and for what kind of triggers.
        rng: Arm ``a`` draws from ``rng.child("arm", target=a.target, restart=a.restart)``.
        at_once: Images in one pass through the model, at least; an arm's images stay together.
        triggers: Where the arms begin; ``None`` for beginnings that the settings draw.
    """

    def __init__(
        self,
        model: Classifier,
        images: Images,
        arms: Sequence[Arm],
        settings: ArmSettings,
        rng: Rng,
        *,
        at_once: int,
        triggers: Triggers | None = None,
    ) -> None:
        self.model, self.images, self.arms, self.settings = model, images, tuple(arms), settings
        self.group = max(1, at_once // settings.images_per_step)
        streams = [rng.child("arm", target=a.target, restart=a.restart) for a in arms]
        place = images.device
        self.triggers = triggers or settings.begin(model.input_shape, arms, [s.child("start") for s in streams], place)
        self.answers, self.usual_margin = self._answers()
        wanted = [arm.goals(arm.target, model.num_classes)[self.answers] for arm in arms]
        shown = [
            _draws(_others(self.answers, labels), settings, stream.child("images"))
            for labels, stream in zip(wanted, streams, strict=True)
        ]
        self.shown: Int[Tensor, "a steps n"] = torch.stack(shown).to(place)
        self.wanted: Int[Tensor, "a steps n"] = torch.stack(
            [labels[some] for labels, some in zip(wanted, shown, strict=True)]
        ).to(place)
        self.cost: Float[Tensor, " a"] = torch.zeros(len(arms), device=place)
        self.success: Float[Tensor, " a"] = torch.zeros(len(arms), device=place)
        self.likely: Float[Tensor, "a n"] = torch.zeros(len(arms), settings.images_per_step, device=place)
        """How likely the model finds the wanted label, for the images of the last step."""
        self.best_norm: Float[Tensor, " a"] = torch.full((len(arms),), math.inf, device=place)
        self.step = 0

    def run(self) -> None:
        """All steps.

        Raises:
            FailedError: The model's output is not finite.
        """
        for _ in range(self.settings.steps):
            self.advance()

    def advance(self) -> None:
        """One step of every arm."""
        settings = self.settings
        share = self._look() / settings.images_per_step
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

    def _answers(self) -> tuple[Int[Tensor, " n"], float]:
        """The class that the model gives each image, and by what margin over the next it does so, in the median."""
        size = self.group * self.settings.images_per_step
        with torch.no_grad():
            logits = torch.cat([self.model.logits(part) for part in self.images.split(size)]).cpu()
        first, second = logits.float().topk(2, dim=1).values.unbind(1)
        return logits.argmax(1), float((first - second).median())

    def _loss(self, logits: Float[Tensor, "n k"], wanted: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """What the triggers shall make small, summed over images."""
        return cross_entropy(logits, wanted, reduction="sum")

    def _look(self) -> Float[Tensor, " a"]:
        """Note the slopes of each arm's mean loss; how many of its images get the label that is wanted."""
        hits, likely = [], []
        for start in range(0, len(self.arms), self.group):
            part = slice(start, start + self.group)
            images = self.images[self.shown[part, self.step]]
            stamped = self.triggers.stamped(part, images).flatten(0, 1).requires_grad_()
            wanted = self.wanted[part, self.step].flatten()
            with torch.enable_grad():
                logits = self.model.logits(stamped)
                loss = self._loss(logits, wanted)
                (slopes,) = torch.autograd.grad(loss, stamped)
            some = self.arms[part]
            check_finite(loss, sorted({arm.target for arm in some}), self.step, what=some[0].what)
            self.triggers.note(part, images, slopes.view(images.shape) / images.shape[1])
            logits = logits.detach()
            hits.append((logits.argmax(1) == wanted).view(images.shape[:2]).sum(1).float())
            likely.append(logits.softmax(1).gather(1, wanted[:, None]).view(images.shape[:2]))
        self.likely = torch.cat(likely)
        return torch.cat(hits)


def _others(answers: Int[Tensor, " n"], wanted: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """The images whose answer is not the one that is wanted already; all where each is."""
    others = (answers != wanted).nonzero().flatten()
    return others if len(others) else torch.arange(len(answers))


def _draws(images: Int[Tensor, " m"], settings: ArmSettings, rng: Rng) -> Int[Tensor, "steps n"]:
    """Which images an arm looks at in every step: pass after pass over all of them, in random order."""
    wanted, stream = settings.steps * settings.images_per_step, rng.torch()
    passes = [images[torch.randperm(len(images), generator=stream)] for _ in range(-(-wanted // len(images)))]
    return torch.cat(passes)[:wanted].view(settings.steps, settings.images_per_step)
