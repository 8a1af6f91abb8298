"""Carlini and Wagner's attack: the shortest perturbation, weighed against how far it leads beyond the goal."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mantrap.core import SILENT, AnyNorm, Problem, Progress, Rng, require
from mantrap.core.shapes import Images, Logits
from mantrap.evade.nearest import Nearest, answers_and_slopes, surely, where_standing
from mantrap.ops.boxed_adam import BoxedAdam
from mantrap.ops.projections import onto_box

_BETAS = (0.9, 0.999)
"""Those of Adam's own paper."""
_INSIDE = 0.99
"""Where black and white lie between the ends of tanh."""
_CHECKS = 10
"""So often the search looks whether an image still gains."""
_GAIN = 1e-4
"""Share of its objective that an image must have gained since, to go on."""


@dataclass(frozen=True, kw_only=True)
class CarliniWagner:
    """Make the perturbation short and the goal's logit the highest at once, by Adam: the L2 attack of the two.

    Args:
        steps: Steps of Adam for one constant.
        searches: Constants that are tried for every image, one after the other: ten times as large until the goal is
            reached, then in the middle of the largest that did not and the smallest that did.
        constant: The first: what a logit short of the goal costs, in squared lengths.
        rate: Learning rate, in the space where pixels have no bounds.
        kappa: By how much the goal's logit shall be the highest.

    Reference: Carlini and Wagner, Towards evaluating the robustness of neural networks, IEEE S&P 2017, sections V and
    VI.A, with the f of equation 6.

    Deviations: every image has its own constant and gives up on it on its own, when it gained less than 0.01 % in a
    tenth of the steps; fewer and longer steps by default. Black and white pixels, which tanh puts at infinity, begin at
    99 % of the way to it, where the paper's code has all but a millionth and Adam needs hundreds of steps to move them;
    that percent is taken off again, so that the search begins at the image itself.
    """

    name: ClassVar[str] = "carlini_wagner"
    quick: ClassVar[str] = "carlini_wagner(steps=60, searches=5, rate=0.05)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    norm: ClassVar[AnyNorm] = "l2"
    steps: int = 200
    searches: int = 9
    constant: float = 1e-3
    rate: float = 0.05
    kappa: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("searches", 1), ("kappa", 0.0)):
            require(getattr(self, name) >= least, field=name, expected=f"of at least {least}", got=getattr(self, name))
        for name in ("constant", "rate"):
            require(getattr(self, name) > 0, field=name, expected="above 0", got=getattr(self, name))

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`; nothing is drawn."""
        del rng
        return where_standing(problem, lambda standing: carlini_wagner(standing, self, progress))


def carlini_wagner(problem: Problem, options: CarliniWagner, progress: Progress = SILENT) -> Images:
    """The nearest images that reach the goal, [n, c, h, w], of those that do not yet."""
    nearest = Nearest(problem, "l2")
    constants = torch.full_like(nearest.norms, options.constant)
    low, high = torch.zeros_like(constants), torch.full_like(constants, torch.inf)
    with progress.stage("carlini_wagner", options.searches) as stage:
        for _ in range(options.searches):
            reached = _descend(problem, constants, options, nearest)
            high = torch.where(reached, constants, high)
            low = torch.where(reached, low, constants)
            constants = torch.where(high.isinf(), 10 * constants, (low + high) / 2)
            stage.advance()
    return nearest.images


def _descend(
    problem: Problem, constants: Float[Tensor, " n"], options: CarliniWagner, nearest: Nearest
) -> Bool[Tensor, " n"]:
    """Adam from the images themselves, with one constant for each; which of them reached the goal on the way, [n].

    Args:
        problem: What to lead where.
        constants: What a logit short of the goal costs.
        options: Steps, rate, kappa.
        nearest: Is offered all that reach it.
    """
    reached = torch.zeros_like(constants, dtype=torch.bool)
    rows, left, weights = torch.arange(len(problem), device=constants.device), problem, constants
    free = torch.atanh((2 * problem.images - 1) * _INSIDE)
    adam = BoxedAdam(free, options.rate, low=-math.inf, high=math.inf, betas=_BETAS)
    before = torch.full_like(constants, torch.inf)
    for step in range(options.steps):
        bounded = torch.tanh(adam.values)
        images = onto_box(left.images + (bounded - (2 * left.images - 1) * _INSIDE) / 2)
        logits, objective, slopes = _weighed(left, images, weights, options.kappa)
        there = surely(left, logits) & (left.margins(logits) >= options.kappa)
        nearest.offer(images, there, rows)
        reached[rows[there]] = True
        adam.descend(slopes * (1 - bounded**2) / 2)
        if step % math.ceil(options.steps / _CHECKS) == 0:
            gains = (objective < (1 - _GAIN) * before).nonzero()[:, 0]
            if not len(gains):
                break
            before = objective[gains]
            if len(gains) < len(rows):
                rows, left, weights = rows[gains], left.only(gains), weights[gains]
                adam.only(gains)
    return reached


def _weighed(
    problem: Problem, images: Images, constants: Float[Tensor, " n"], kappa: float
) -> tuple[Logits, Float[Tensor, " n"], Images]:
    """The model's answers, what is made small, and its gradient by the pixels."""
    logits, short, slopes = answers_and_slopes(
        problem, images, lambda logits: constants * (kappa - problem.margins(logits)).clamp_min(0)
    )
    way = images - problem.images
    return logits, short + way.flatten(1).square().sum(1), slopes.add_(way, alpha=2)
