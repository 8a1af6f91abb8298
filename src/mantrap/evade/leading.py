"""Which way a goal lies, as gradient evasions see it."""

from dataclasses import dataclass

import torch

from mantrap.core import Problem
from mantrap.core.shapes import Images
from mantrap.ops.pgd import Ascent, Climb, away, slope, towards
from mantrap.ops.projections import Norm
from mantrap.ops.scores import finite_logits


@dataclass(frozen=True, kw_only=True)
class ManySteps:
    """How evasions of many steps spend their budget.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        step: Length of a step, as a share of ``eps``.
        steps: How many.
    """

    eps: float = 0.25
    norm: Norm = "linf"
    step: float = 0.1
    steps: int = 40

    def __post_init__(self) -> None:
        self.ascent  # noqa: B018 - refuses what does not fit

    @property
    def ascent(self) -> Ascent:
        """The ball and the steps."""
        return Ascent(norm=self.norm, eps=self.eps, step=self.step * self.eps, steps=self.steps)


def climb_of(problem: Problem) -> Climb:
    """What gradient evasions make large: the loss of the own class, or less that of the target."""
    return away if problem.goal.targets is None else towards


def slope_of(problem: Problem, images: Images) -> Images:
    """The gradient of each image's :func:`climb_of` by its pixels, [n, c, h, w].

    Raises:
        ModelError: The model's answer has none by the pixels.
        FailedError: It is not finite.
    """
    return slope(problem.model, images, problem.anchors, climb_of(problem))


def farther(problem: Problem, one: Images, other: Images) -> Images:
    """Of two perturbations of each image the one that is farther beyond the goal, [n, c, h, w].

    Raises:
        FailedError: The model's logits are not finite.
    """
    with torch.no_grad():
        first, second = (problem.margins(finite_logits(problem.model, images)) for images in (one, other))
    return torch.where((second > first).view(-1, 1, 1, 1), other, one)
