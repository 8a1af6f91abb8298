"""Searches for the triggers of many labels at once: one tensor, one optimiser, one pass through the model for all.

A label's search may begin several times, from different masks; each beginning is an arm. Arms share nothing but the
pass through the model, so what an arm finds does not depend on the company it is in, but for rounding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, Rng, require
from mantrap.core.shapes import Images
from mantrap.errors import FailedError
from mantrap.ops.boxed_adam import BoxedAdam


@dataclass(frozen=True, kw_only=True)
class ArmSettings:
    """How arms are searched.

    Args:
        steps: Steps of every arm.
        images_per_step: Images that an arm looks at in a step.
        warm_up: First steps, in which the norm costs nothing.
        mask_rate: Learning rate of the mask, which lies in [0, 1].
        pattern_rate: Learning rate of the pattern.
        initial_cost: L1 weight when it begins to count.
        cost_multiplier: Factor by which the weight grows after a step at which the trigger works; else it shrinks by
            the 1.5th power.
        memory: How slowly an arm's success follows its steps: the weight of the past in a moving average, in [0, 1).
        success_threshold: The average from which a trigger works.
        scales: Largest opacity of the masks that arms begin with, in turn.
    """

    steps: int = 60
    images_per_step: int = 8
    warm_up: int = 12
    mask_rate: float = 0.1
    pattern_rate: float = 0.2
    initial_cost: float = 0.01
    cost_multiplier: float = 1.05
    memory: float = 0.8
    success_threshold: float = 0.98
    scales: tuple[float, ...] = (0.5, 0.2)

    def __post_init__(self) -> None:
        for field in ("steps", "images_per_step"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))
        require(0 <= self.warm_up < self.steps, field="warm_up", expected="in [0, steps)", got=self.warm_up)
        for field in ("mask_rate", "pattern_rate", "initial_cost"):
            require(getattr(self, field) > 0, field=field, expected="above 0", got=getattr(self, field))
        require(self.cost_multiplier > 1, field="cost_multiplier", expected="above 1", got=self.cost_multiplier)
        require(0 <= self.memory < 1, field="memory", expected="in [0, 1)", got=self.memory)
        share = self.success_threshold
        require(0 < share <= 1, field="success_threshold", expected="in (0, 1]", got=share)
        scaled = bool(self.scales) and all(0 < scale <= 1 for scale in self.scales)
        require(scaled, field="scales", expected="with numbers in (0, 1]", got=self.scales)


@dataclass(frozen=True)
class Arm:
    """One beginning of the search for one label's trigger."""

    target: int
    restart: int


class ArmSearch:
    """The search of some arms.

    Args:
        model: The classifier, frozen; best a fast copy.
        images: Images to search with, [n, c, h, w] in [0, 1], on the model's device.
        arms: What to search for.
        settings: How.
        rng: Arm ``a`` draws from ``rng.child("arm", target=a.target, restart=a.restart)``.
        at_once: Images in one pass through the model, at least; an arm's images stay together.
    """

    def __init__(
        self, model: Classifier, images: Images, arms: Sequence[Arm], settings: ArmSettings, rng: Rng, *, at_once: int
    ) -> None:
        self.model, self.images, self.arms, self.settings = model, images, tuple(arms), settings
        self.group = max(1, at_once // settings.images_per_step)
        streams = [rng.child("arm", target=a.target, restart=a.restart) for a in arms]
        scales = [settings.scales[a.restart % len(settings.scales)] for a in arms]
        starts = [_start(model.input_shape, s.child("start"), scale) for s, scale in zip(streams, scales, strict=True)]
        shown = [_draws(len(images), settings, s.child("images")) for s in streams]
        place = images.device
        self.targets: Int[Tensor, " a"] = torch.tensor([a.target for a in arms], device=place)
        self.shown: Int[Tensor, "a steps n"] = torch.stack(shown).to(place)
        self.mask: Float[Tensor, "a h w"] = torch.stack([mask for mask, _ in starts]).to(place)
        self.pattern: Float[Tensor, "a c h w"] = torch.stack([pattern for _, pattern in starts]).to(place)
        self._masks = BoxedAdam(self.mask, settings.mask_rate)
        self._patterns = BoxedAdam(self.pattern, settings.pattern_rate)
        self.cost: Float[Tensor, " a"] = torch.zeros(len(arms), device=place)
        self.success: Float[Tensor, " a"] = torch.zeros(len(arms), device=place)
        self.best_norm: Float[Tensor, " a"] = torch.full((len(arms),), math.inf, device=place)
        self.best_mask, self.best_pattern = self.mask.clone(), self.pattern.clone()
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
        mask_slope, pattern_slope, hits = self._slopes()
        share = hits / settings.images_per_step
        self.success = share if self.step == 0 else settings.memory * self.success + (1 - settings.memory) * share
        works = self.success >= settings.success_threshold
        self._keep(works)
        self._masks.descend(mask_slope + self.cost[:, None, None])
        self._patterns.descend(pattern_slope)
        if self.step >= settings.warm_up:
            factor = settings.cost_multiplier
            changed = torch.where(works, self.cost * factor, self.cost / factor**1.5)
            first = torch.where(works, settings.initial_cost, 0.0)
            self.cost = torch.where(self.cost == 0, first, changed)
        self.step += 1

    def _keep(self, works: Bool[Tensor, " a"]) -> None:
        """Remember the masks that work and are smaller than those before."""
        norm = self.mask.sum((1, 2))
        better = works & (norm < self.best_norm)
        self.best_norm = torch.where(better, norm, self.best_norm)
        self.best_mask[better], self.best_pattern[better] = self.mask[better], self.pattern[better]

    def _slopes(self) -> tuple[Float[Tensor, "a h w"], Float[Tensor, "a c h w"], Float[Tensor, " a"]]:
        """Each arm's mean cross-entropy by its mask and by its pattern, and how many images reach its target."""
        mask_slopes, pattern_slopes, hits = [], [], []
        for start in range(0, len(self.arms), self.group):
            part = slice(start, start + self.group)
            images = self.images[self.shown[part, self.step]]
            mask, gap = self.mask[part, None, None], self.pattern[part, None] - images
            stamped = (images + mask * gap).flatten(0, 1).requires_grad_()
            wanted = self.targets[part].repeat_interleave(images.shape[1])
            with torch.enable_grad():
                logits = self.model.logits(stamped)
                loss = cross_entropy(logits, wanted, reduction="sum")
                (slope,) = torch.autograd.grad(loss, stamped)
            if not math.isfinite(float(loss.detach())):
                raise FailedError(
                    expected=f"finite logits while searching for labels {self.targets[part].unique().tolist()}",
                    got=f"a loss of {float(loss.detach())} at step {self.step}",
                    remedy="Check the model's declared preprocessing and its weights.",
                )
            by_arm = slope.view(images.shape) / images.shape[1]
            mask_slopes.append((by_arm * gap).sum((1, 2)))
            pattern_slopes.append(by_arm.sum(1) * mask[:, 0])
            hits.append((logits.detach().argmax(1) == wanted).view(images.shape[:2]).sum(1).float())
        return torch.cat(mask_slopes), torch.cat(pattern_slopes), torch.cat(hits)


def _start(shape: tuple[int, int, int], rng: Rng, scale: float) -> tuple[Tensor, Tensor]:
    """A random mask and a random pattern."""
    stream, (_, height, width) = rng.torch(), shape
    return torch.rand(height, width, generator=stream) * scale, torch.rand(shape, generator=stream)


def _draws(count: int, settings: ArmSettings, rng: Rng) -> Int[Tensor, "steps n"]:
    """Which images an arm looks at in every step: pass after pass over all of them, in random order."""
    wanted, stream = settings.steps * settings.images_per_step, rng.torch()
    passes = [torch.randperm(count, generator=stream) for _ in range(-(-wanted // count))]
    return torch.cat(passes)[:wanted].view(settings.steps, settings.images_per_step)
