"""What evasions of the smallest norm share: which images still stand, and the nearest ones that do not."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mantrap.core import AnyNorm, Problem
from mantrap.core.shapes import Images, Logits
from mantrap.ops.pgd import slope_at
from mantrap.ops.projections import norms
from mantrap.ops.scores import finite_logits

Batch: TypeAlias = Float[Tensor, "m c h w"]
Rows: TypeAlias = Int64[Tensor, " m"]
"""Which of the given images."""
_ROUNDING = 1e-5
"""Share of its largest logit, or of 1, that an answer must be beyond the goal: in other batches it rounds otherwise."""


def where_standing(problem: Problem, find: Callable[[Problem], Images]) -> Images:
    """What ``find`` makes of the images that do not reach the goal as they are; the others as they are.

    Raises:
        FailedError: The model's logits are not finite.
    """
    with torch.no_grad():
        stands = ~problem.reached(finite_logits(problem.model, problem.images))
    made = problem.images.clone()
    if bool(stands.any()):
        made[stands] = find(problem.only(stands))
    return made


def rounding(logits: Logits) -> Float[Tensor, " n"]:
    """By how much an answer must be beyond the goal to be there in any batch, [n]."""
    return _ROUNDING * logits.abs().amax(1).clamp_min(1.0)


def surely(problem: Problem, logits: Logits) -> Bool[Tensor, " n"]:
    """Which answers reach the goal by more than rounding, [n]."""
    return problem.margins(logits) > rounding(logits)


def log_odds(problem: Problem, logits: Logits) -> Float[Tensor, " n"]:
    """The logarithm of how likely the goal is against all else, [n], by the softmax.

    Its gradient goes the way of the cross-entropy's, and does not vanish where the model is sure.
    """
    anchors = problem.anchors[:, None]
    one = logits.gather(1, anchors)[:, 0]
    others = logits.scatter(1, anchors, -torch.inf).logsumexp(1)
    return others - one if problem.goal.targets is None else one - others


def answers_and_slopes(
    problem: Problem, images: Images, height: Callable[[Logits], Float[Tensor, " n"]]
) -> tuple[Logits, Float[Tensor, " n"], Images]:
    """The model's answers to images, how high each of them is, and the gradient of that to its pixels.

    Args:
        problem: What to lead where.
        images: [n, c, h, w].
        height: Of the answers; those of the images one by one, [n].

    Raises:
        ModelError: The model's answer has no gradient by the pixels.
        FailedError: Logits or gradients are not finite.
    """
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        logits = finite_logits(problem.model, pixels)
        heights = height(logits)
        slopes = slope_at(pixels, heights)
    return logits.detach(), heights.detach(), slopes


class Nearest:
    """The nearest images that were found to reach the goal; the given ones where none was found.

    Args:
        problem: What to lead where.
        norm: How far away an image is.
    """

    def __init__(self, problem: Problem, norm: AnyNorm) -> None:
        self._given, self._norm = problem.images, norm
        self.images = problem.images.clone()
        self.norms = torch.full((len(problem),), torch.inf, device=problem.images.device)

    def offer(self, images: Batch, reached: Bool[Tensor, " m"], rows: Rows | None = None) -> None:
        """Keep those that reach the goal and are nearer than what is kept.

        Args:
            images: [m, c, h, w].
            reached: Which of them do, [m].
            rows: Which of the given images they are made of; all in turn where ``None``.
        """
        given, known = (self._given, self.norms) if rows is None else (self._given[rows], self.norms[rows])
        far = norms(images - given, self._norm)
        nearer = (reached & (far < known)).nonzero()[:, 0]
        places = nearer if rows is None else rows[nearer]
        self.images[places] = images[nearer]
        self.norms[places] = far[nearer]
