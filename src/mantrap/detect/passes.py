"""Many triggers at once: one tensor, and one pass through the model for all.

A label's search may begin several times, from different places; each beginning is an arm. Arms share nothing but the
pass through the model, so what an arm finds does not depend on the company it is in, but for rounding.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, Rng
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
    """The triggers of some arms while they are searched for."""

    @abstractmethod
    def stamped(self, arms: slice, images: Float[Tensor, "a n c h w"]) -> Float[Tensor, "a n c h w"]:
        """The images of some arms with their triggers on them."""

    @abstractmethod
    def note(self, arms: slice, images: Float[Tensor, "a n c h w"], slopes: Float[Tensor, "a n c h w"]) -> None:
        """Take in how each arm's loss changes with the pixels of its stamped images."""


@runtime_checkable
class Pace(Protocol):
    """How long arms are searched."""

    @property
    def steps(self) -> int:
        """Steps of every arm."""

    @property
    def images_per_step(self) -> int:
        """Images that an arm looks at in a step."""


def streams_of(arms: Sequence[Arm], rng: Rng) -> list[Rng]:
    """What each arm draws from, which does not depend on its company."""
    return [rng.child("arm", target=a.target, restart=a.restart) for a in arms]


class ArmPasses:
    """Shows every arm its images, stamped, and tells its triggers how to change; subclasses say what comes of it.

    Args:
        model: The classifier, frozen; best a fast copy.
        images: Images to search with, [n, c, h, w] in [0, 1], on the model's device. An arm is shown those that the
            model does not answer as the arm wants already.
        arms: What to search for.
        pace: How many steps, of how many images.
        rng: Source of randomness, by :func:`streams_of`.
        at_once: Images in one pass through the model, at least; an arm's images stay together.
        triggers: Those that the arms begin with.
    """

    def __init__(
        self,
        model: Classifier,
        images: Images,
        arms: Sequence[Arm],
        pace: Pace,
        rng: Rng,
        *,
        at_once: int,
        triggers: Triggers,
    ) -> None:
        self.model, self.images, self.arms, self.triggers = model, images, tuple(arms), triggers
        self.group, self._size = max(1, at_once // pace.images_per_step), pace.images_per_step
        self.answers, self.usual_margin = self._answers()
        wanted = [arm.goals(arm.target, model.num_classes)[self.answers] for arm in arms]
        shown = [
            _draws(_others(self.answers, labels), pace, stream.child("images"))
            for labels, stream in zip(wanted, streams_of(arms, rng), strict=True)
        ]
        place = images.device
        self.shown: Int[Tensor, "a steps n"] = torch.stack(shown).to(place)
        self.wanted: Int[Tensor, "a steps n"] = torch.stack(
            [labels[some] for labels, some in zip(wanted, shown, strict=True)]
        ).to(place)
        self.likely: Float[Tensor, "a n"] = torch.zeros(len(arms), pace.images_per_step, device=place)
        """How likely the model finds the wanted label, for the images of the last step."""
        self.step = 0

    def _answers(self) -> tuple[Int[Tensor, " n"], float]:
        """The class that the model gives each image, and by what margin over the next it does so, in the median."""
        size = self.group * self._size
        with torch.no_grad():
            logits = torch.cat([self.model.logits(part) for part in self.images.split(size)]).cpu()
        first, second = logits.float().topk(2, dim=1).values.unbind(1)
        return logits.argmax(1), float((first - second).median())

    def _loss(self, logits: Float[Tensor, "n k"], wanted: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """What the triggers shall make small, summed over images."""
        return cross_entropy(logits, wanted, reduction="sum")

    def _likely(self, logits: Float[Tensor, "n k"], wanted: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """How likely each image's wanted label is, in [0, 1]."""
        return logits.softmax(1).gather(1, wanted[:, None])[:, 0]

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
            likely.append(self._likely(logits, wanted).view(images.shape[:2]))
        self.likely = torch.cat(likely)
        return torch.cat(hits)


def _others(answers: Int[Tensor, " n"], wanted: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """The images whose answer is not the one that is wanted already; all where each is."""
    others = (answers != wanted).nonzero().flatten()
    return others if len(others) else torch.arange(len(answers))


def _draws(images: Int[Tensor, " m"], pace: Pace, rng: Rng) -> Int[Tensor, "steps n"]:
    """Which images an arm looks at in every step: pass after pass over all of them, in random order."""
    wanted, stream = pace.steps * pace.images_per_step, rng.torch()
    passes = [images[torch.randperm(len(images), generator=stream)] for _ in range(-(-wanted // len(images)))]
    return torch.cat(passes)[:wanted].view(pace.steps, pace.images_per_step)
