"""Adversarial examples: where they shall lead, who makes them, and what comes out."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

from mantrap.core.classifier import Classifier
from mantrap.core.progress import SILENT, Progress
from mantrap.core.results import Cost
from mantrap.core.rng import Rng
from mantrap.core.shapes import Images, Labels, Logits

AnyNorm: TypeAlias = Literal["linf", "l2", "l1"]
"""How a perturbation is measured: its largest change of a value, its Euclidean length, or the sum of its changes."""


@dataclass(frozen=True, eq=False)
class Goal:
    """Where adversarial examples shall lead.

    Args:
        targets: For each image the class that it shall be taken for, [n]; ``None`` for any class but its own.
    """

    targets: Labels | None = None

    def reached(self, logits: Logits, labels: Labels) -> Bool[Tensor, " n"]:
        """Which images have got there, [n].

        Args:
            logits: The model's answers, [n, k].
            labels: The images' own classes, [n].
        """
        said = logits.argmax(1)
        return said != labels if self.targets is None else said == self.targets


AWAY: Final = Goal()
"""To any other class."""


@dataclass(frozen=True, eq=False)
class Perturbed:
    """Adversarial examples, or what came of the attempt.

    Whether the model follows them is for the caller to measure, on the pixels that he keeps.

    Args:
        images: [n, c, h, w] in [0, 1], on the device of the images that came in. Of a smallest-norm evasion those that
            it could not lead to the goal are as they were.
        evasion: Spec string of the evasion.
        cost: Images that went through the model.
        notes: What the reader must know, in plain sentences.
    """

    images: Images
    evasion: str
    cost: Cost
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Problem:
    """Images to lead a model astray with; all tensors lie on the model's device.

    Args:
        model: The classifier, frozen.
        images: [n, c, h, w] in [0, 1].
        labels: Their own classes, [n].
        goal: Where to lead them.
    """

    model: Classifier
    images: Images
    labels: Labels
    goal: Goal = AWAY

    def __len__(self) -> int:
        return len(self.images)

    @property
    def anchors(self) -> Labels:
        """The classes that the goal leads away from, or towards, [n]."""
        return self.labels if self.goal.targets is None else self.goal.targets

    @cached_property
    def _anchored(self) -> Bool[Tensor, "n k"]:
        return one_hot(self.anchors, self.model.num_classes).bool()

    def reached(self, logits: Logits) -> Bool[Tensor, " n"]:
        """Which answers are what the goal asks for, [n]."""
        return self.goal.reached(logits, self.labels)

    def margins(self, logits: Logits) -> Float[Tensor, " n"]:
        """How far each answer is beyond the goal, in logits, [n]: above 0 where it is reached.

        Away from the own class, by how much the highest other logit exceeds its own; towards a target, by how much the
        target's exceeds the highest other.
        """
        anchors = logits.gather(1, self.anchors[:, None])[:, 0]
        others = logits.masked_fill(self._anchored, -torch.inf).amax(1)
        return others - anchors if self.goal.targets is None else anchors - others

    def only(self, chosen: Tensor) -> "Problem":
        """The same of some images, by number or by yes and no."""
        goal = self.goal if self.goal.targets is None else Goal(self.goal.targets[chosen])
        return Problem(self.model, self.images[chosen], self.labels[chosen], goal)


@runtime_checkable
class Evasion(Protocol):
    """Makes adversarial examples: images that look as they did, and that a model takes for something else.

    An evasion is a frozen dataclass of hyperparameters. One of a fixed budget has an ``eps`` and a ``norm``, and stays
    within that ball; one of the smallest norm has a ``norm`` that it makes small; one that covers has the ``size`` of
    what it paints over. All stay within [0, 1]. The same ``rng`` gives the same result. :func:`mantrap.evade.perturb`
    asks it.
    """

    name: ClassVar[str]
    quick: ClassVar[str]
    needs_gradients: ClassVar[bool]
    """Whether it asks for the gradient of the model's answer by the pixels; one that does not only asks for answers."""
    aims: ClassVar[bool]
    """Whether it can lead to a given class, and not only away from the own one."""

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """Images near the given ones that the model takes for something else.

        Args:
            problem: What to lead where; looked over already.
            rng: Source of randomness.
            progress: Observer of the work.

        Returns:
            [n, c, h, w] in [0, 1]. One of the smallest norm gives images that it could not lead there as they were.

        Raises:
            UsageError: A goal, a budget or a number of classes that the evasion cannot do with.
            ModelError: It needs gradients and the model's answer has none by the pixels.
            FailedError: Logits or gradients are not finite.
        """


@runtime_checkable
class BudgetedEvasion(Evasion, Protocol):
    """An evasion that spends a fixed budget: the norm of no perturbation exceeds ``eps``."""

    @property
    def eps(self) -> float:
        """The budget, of pixels in [0, 1]."""

    @property
    def norm(self) -> AnyNorm:
        """What it is measured by."""


@runtime_checkable
class MinimalEvasion(Evasion, Protocol):
    """An evasion that looks for the smallest perturbation that reaches the goal; it has no ``eps``."""

    @property
    def norm(self) -> AnyNorm:
        """What it makes small."""


@runtime_checkable
class CoveringEvasion(Evasion, Protocol):
    """An evasion that paints over one rectangle of each image as it likes, and leaves all else as it is."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the rectangle, in pixels."""


@runtime_checkable
class NotingEvasion(Evasion, Protocol):
    """An evasion that does not treat all models alike, and says so."""

    def notes(self, model: Classifier) -> tuple[str, ...]:
        """What the reader must know about how it goes with this model, in plain sentences."""
