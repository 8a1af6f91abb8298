"""The search for the trigger of one label, as the Neural Cleanse paper has it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, ImageSet, LabelFinding, ReversedPatch, Rng, require
from mantrap.core.shapes import Images, Logits, Mask, Pattern
from mantrap.detect.finite import check_finite
from mantrap.ops.stamp import stamp

STOPPED = ("last step", "early stop", "cut short")
"""Why a search ended. It is cut short when the last step comes before the L1 weight went both up and down: its norm has
not settled."""

_TANH_EPSILON = 1e-7
"""Keeps the change of variables away from 0 and 1, where its gradient vanishes; as in the reference."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Schedule and thresholds of a search.

    Args:
        steps: Most steps for a label; the L1 weight may change after each.
        images_per_step: Images that one step looks at, in batches.
        batch_size: Images in one update.
        learning_rate: Of Adam, with betas 0.5 and 0.9.
        success_threshold: Share of a step's images that must reach the label for a mask to count.
        initial_cost: First L1 weight after 0, once the attack works.
        cost_multiplier: Factor by which the weight grows while the attack works; else it shrinks by the 1.5th power.
        patience: Steps in a row after which the weight changes.
        early_stop_threshold: A step is no progress when the smallest norm is at least this share of the last.
        early_stop_patience: Steps without progress after which a label is finished.
    """

    steps: int = 1000
    images_per_step: int = 1000
    batch_size: int = 32
    learning_rate: float = 0.1
    success_threshold: float = 0.99
    initial_cost: float = 1e-3
    cost_multiplier: float = 1.5
    patience: int = 5
    early_stop_threshold: float = 1.0
    early_stop_patience: int = 25

    def __post_init__(self) -> None:
        for field in ("steps", "images_per_step", "batch_size", "patience", "early_stop_patience"):
            value = getattr(self, field)
            require(value >= 1, field=field, expected="of at least 1", got=value)
        for field in ("learning_rate", "initial_cost", "early_stop_threshold"):
            value = getattr(self, field)
            require(value > 0, field=field, expected="above 0", got=value)
        require(self.cost_multiplier > 1, field="cost_multiplier", expected="above 1", got=self.cost_multiplier)
        share = self.success_threshold
        require(0 < share <= 1, field="success_threshold", expected="in (0, 1]", got=share)


class TriggerSearch:
    """The search for one label's trigger; mask, pattern, optimiser and L1 weight start anew with each label."""

    def __init__(self, target: int, model: Classifier, images: ImageSet, settings: SearchSettings, rng: Rng) -> None:
        self.target, self.settings, self.device = target, settings, model.device
        self.batches_per_step = max(1, settings.images_per_step // settings.batch_size)
        self._stream = _endless_batches(images, settings.batch_size, rng.child("images"))
        c, h, w = model.input_shape
        start = rng.child("start").torch()
        self._mask_tanh = _to_tanh(torch.rand(h, w, generator=start)).to(self.device).requires_grad_()
        self._pattern_tanh = _to_tanh(torch.rand(c, h, w, generator=start)).to(self.device).requires_grad_()
        self._adam = torch.optim.Adam(
            [self._pattern_tanh, self._mask_tanh], lr=settings.learning_rate, betas=(0.5, 0.9), eps=1e-7
        )
        self._schedule = CostSchedule(settings)
        self._best: tuple[Mask, Pattern] | None = None
        self._hits = self._shown = 0
        self._norms: list[float] = []
        self.images_seen = self.step = 0
        self.share_done = 0.0  # an estimate that never falls and is 1 at the end
        self.stopped = ""

    @property
    def mask(self) -> Mask:
        """The present mask, [h, w] in [0, 1]."""
        return _from_tanh(self._mask_tanh)

    @property
    def pattern(self) -> Pattern:
        """The present pattern, [c, h, w] in [0, 1]."""
        return _from_tanh(self._pattern_tanh)

    def stamped(self) -> Images:
        """The next batch of images with the present trigger on them."""
        return stamp(next(self._stream).to(self.device), self.mask, self.pattern)

    def loss(self, logits: Logits) -> Tensor:
        """Cross-entropy towards the target plus the weighted L1 norm of the mask; counts the hits on the way."""
        norm = self.mask.sum()
        entropy = cross_entropy(logits, torch.full((len(logits),), self.target, device=self.device))
        check_finite(entropy, (self.target,), self.step)
        self._hits += int((logits.detach().argmax(1) == self.target).sum())
        self._shown += len(logits)
        self._norms.append(float(norm.detach()))
        return entropy + self._schedule.cost * norm

    def update(self) -> None:
        """One step of Adam on mask and pattern."""
        self._adam.step()
        self._adam.zero_grad()

    def end_step(self) -> None:
        """Keep the mask if it is the smallest that works, then stop or change the weight of its norm."""
        works = self._hits / self._shown >= self.settings.success_threshold
        norm = sum(self._norms) / len(self._norms)
        if works and norm < self._schedule.best_norm:
            self._best = (self.mask.detach().cpu().clone(), self.pattern.detach().cpu().clone())
            self._schedule.best_norm = norm
        self.images_seen += self._shown
        self._hits = self._shown = 0
        self._norms = []
        self.step += 1
        if self._schedule.exhausted():
            self.stopped = STOPPED[1]
        elif self.step == self.settings.steps:
            self.stopped = STOPPED[0] if self._schedule.settled else STOPPED[2]
        else:
            self._schedule.adapt(works=works)
        left = 0 if self.stopped else min(self._schedule.steps_left, self.settings.steps - self.step)
        self.share_done = max(self.share_done, self.step / (self.step + left))

    def result(self) -> tuple[LabelFinding, ReversedPatch | None]:
        """What was found out, and the smallest trigger that worked, if one did."""
        trigger = None if self._best is None else ReversedPatch(self.target, *self._best)
        norm = None if trigger is None else trigger.norm
        return LabelFinding(self.target, norm, self.step, self.stopped), trigger


class CostSchedule:
    """The L1 weight of one search: 0 until the attack works, then up while it works and down while it does not."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self.cost = 0.0
        self.best_norm = math.inf
        self._ready = self._up = self._down = self._idle = 0
        self._went_up = self._went_down = False
        self._norm_before = math.inf

    def exhausted(self) -> bool:
        """Whether the weight went both ways and the norm has not shrunk for long enough."""
        if self.best_norm < math.inf:
            no_progress = self.best_norm >= self._settings.early_stop_threshold * self._norm_before
            self._idle = self._idle + 1 if no_progress else 0
        self._norm_before = min(self.best_norm, self._norm_before)
        return self.settled and self._idle >= self._settings.early_stop_patience

    @property
    def settled(self) -> bool:
        """Whether the weight went both ways."""
        return self._went_up and self._went_down

    @property
    def steps_left(self) -> int:
        """Fewest steps before the search can end early: an estimate for whoever waits."""
        return max(1, self._settings.early_stop_patience - self._idle)

    def adapt(self, *, works: bool) -> None:
        """Change the weight after a step that worked or did not."""
        patience, factor = self._settings.patience, self._settings.cost_multiplier
        self._ready = self._ready + 1 if self.cost == 0 and works else 0
        if self._ready >= patience:
            self.cost = self._settings.initial_cost
            self._up = self._down = 0
            self._went_up = self._went_down = False
        self._up, self._down = (self._up + 1, 0) if works else (0, self._down + 1)
        if self._up >= patience:
            self._up, self._went_up = 0, True
            self.cost *= factor
        elif self._down >= patience:
            self._down, self._went_down = 0, True
            self.cost /= factor**1.5


def _endless_batches(images: ImageSet, size: int, rng: Rng) -> Iterator[Images]:
    """Batches from one shuffled pass over the images after another; the last of a pass may be smaller."""
    generator = rng.torch()
    while True:
        order = torch.randperm(len(images), generator=generator).tolist()
        for start in range(0, len(order), size):
            yield images.images(order[start : start + size])


def _to_tanh(values: Tensor) -> Tensor:
    return torch.atanh((values - 0.5) * (2 - _TANH_EPSILON))


def _from_tanh(values: Tensor) -> Tensor:
    return torch.tanh(values) / (2 - _TANH_EPSILON) + 0.5
