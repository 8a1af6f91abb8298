"""Auto-PGD: projected gradient ascent that finds the length of its steps itself."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from mantrap.core import SILENT, Goal, Problem, Progress, Rng, require
from mantrap.core.shapes import Images
from mantrap.errors import UsageError
from mantrap.evade.losses import Loss, difference_of_logits_ratio, log_likelihood
from mantrap.ops.pgd import Ascent, PerImage, slope_at
from mantrap.ops.projections import Norm, check_ball, onto_ball, onto_box, require_ball, steepest, within_ball
from mantrap.ops.scores import finite, finite_logits

INERTIA: Final = 0.25
"""Share of the last move in the next one: 1 - alpha."""
RISING: Final = 0.75
"""Share of steps that have to rise for the length to stay as it is: rho."""
LEAST_FOR_RATIO: Final = 4
"""Classes that a model must have for the difference of logits ratio."""
_LOSSES: Final = {"ce": log_likelihood, "dlr": difference_of_logits_ratio}


@dataclass(frozen=True, kw_only=True)
class Apgd:
    """Take steps that begin long and are halved where they no longer help, with inertia: Auto-PGD.

    There is no length of steps to choose, so that a model does not look robust because of a bad choice.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        loss: ``"ce"``, the cross-entropy, or ``"dlr"``, the difference of logits ratio, which does not flatten where a
            model is sure; it needs four classes.
        steps: How many.
        restarts: From how many random points; only images that are not there yet take part again.
        classes: Away from the own class, lead to so many of the likeliest others, one after the other, and not just
            away (APGD-T); 0 for just away. Where there are fewer others, to all of them.

    Reference: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks, ICML 2020, algorithm 1, conditions 1 and 2 and section 4; the loss with targets is equation 7.

    Deviations: given back is the point farthest beyond the goal, by the logits' margin, not the one of highest loss.
    Points are taken back into the ball and then into the box, as in the authors' code, which for L2 is not the nearest
    point of both.
    """

    name: ClassVar[str] = "apgd"
    quick: ClassVar[str] = "apgd(eps=0.1, steps=6, restarts=2)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    eps: float = 0.25
    norm: Norm = "linf"
    loss: Literal["ce", "dlr"] = "ce"
    steps: int = 100
    restarts: int = 1
    classes: int = 0

    def __post_init__(self) -> None:
        require_ball(self.eps, self.norm)
        require(self.steps >= 1, field="steps", expected="of at least 1", got=self.steps)
        require(self.restarts >= 1, field="restarts", expected="of at least 1", got=self.restarts)
        require(self.classes >= 0, field="classes", expected="of at least 0", got=self.classes)

    @property
    def least_classes(self) -> int:
        """How many classes a model must have."""
        return LEAST_FOR_RATIO if self.loss == "dlr" else 2

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`."""
        self._check(problem)
        kept, farthest = problem.images, torch.full_like(problem.images[:, 0, 0, 0], -torch.inf)
        left = torch.arange(len(problem), device=problem.images.device)
        led = self._ways(problem)
        with progress.stage(self.name, len(led) * self.restarts) as stage:
            for way, toward in enumerate(led):
                for number in range(self.restarts):
                    stage.advance()
                    if not len(left):
                        continue
                    start = rng.child("start", way=way, number=number)
                    began = onto_box(problem.images + within_ball(problem.images, self.eps, self.norm, start))
                    end, margins = apgd(
                        problem.only(left),
                        began[left],
                        toward=toward.only(left),
                        loss=_LOSSES[self.loss],
                        ascent=Ascent(norm=self.norm, eps=self.eps, step=2 * self.eps, steps=self.steps),
                    )
                    farther = margins > farthest[left]
                    kept = kept.index_copy(0, left[farther], end[farther])
                    farthest = farthest.index_copy(0, left[farther], margins[farther])
                    left = left[farthest[left] <= 0]
        return kept

    def _check(self, problem: Problem) -> None:
        check_ball(self.eps, self.norm, problem.model.input_shape)
        if problem.model.num_classes < self.least_classes:
            raise UsageError(
                expected=f"a model of at least {self.least_classes} classes for the difference of logits ratio",
                got=f"{problem.model.num_classes}",
                remedy="Take loss='ce'.",
            )

    def _ways(self, problem: Problem) -> list[Problem]:
        """The problem itself, or one for each class to lead to, the likeliest ones for each image first."""
        count = min(self.classes, problem.model.num_classes - 1)
        if not count or problem.goal.targets is not None:
            return [problem]
        with torch.no_grad():
            logits = finite_logits(problem.model, problem.images)
        others = logits.scatter(1, problem.labels[:, None], -torch.inf).topk(count, 1).indices
        return [Problem(problem.model, problem.images, problem.labels, Goal(one)) for one in others.unbind(1)]


def apgd(problem: Problem, start: Images, *, toward: Problem, loss: Loss, ascent: Ascent) -> tuple[Images, PerImage]:
    """The point of each search that is farthest beyond the goal, [n, c, h, w], and how far that is, in logits, [n].

    Args:
        problem: What to lead where.
        start: Where each search begins, in the ball and in the box, [n, c, h, w].
        toward: The same with the goal that the loss is of.
        loss: What to climb.
        ascent: The ball, the length of the first steps, and how many.
    """

    def projected(images: Images) -> Images:
        return onto_box(problem.images + onto_ball(images - problem.images, ascent.eps, ascent.norm))

    def moved(here: _Point, before: Images | None, length: PerImage) -> Images:
        ahead = projected(here.images + length.view(-1, 1, 1, 1) * steepest(here.slopes, ascent.norm))
        if before is None:
            return ahead
        return projected(here.images + (1 - INERTIA) * (ahead - here.images) + INERTIA * (here.images - before))

    here = best = _point(problem, start, toward, loss)
    kept, margins = here.images, here.margins
    before: Images | None = None
    length = torch.full_like(here.heights, ascent.step)
    rises, then, last = torch.zeros_like(here.heights), here.heights, 0
    halved = torch.zeros_like(rises).bool()
    checks = checkpoints(ascent.steps)
    for step in range(ascent.steps - 1):
        highest = best.heights
        new = _point(problem, moved(here, before, length), toward, loss)
        kept, margins = _farther(kept, margins, new.images, new.margins)
        best = _picked(new.heights > best.heights, new, best)
        if step in checks:
            halved = (rises < RISING * (step - last)) | (~halved & (highest == then))
            rises, then, last = torch.zeros_like(rises), highest, step
            length = torch.where(halved, length / 2, length)
            new = _picked(halved, best, new)
        rises += new.heights > here.heights
        before, here = here.images, new
    end = moved(here, before, length)
    with torch.no_grad():
        return _farther(kept, margins, end, problem.margins(finite_logits(problem.model, end)))


def checkpoints(steps: int) -> set[int]:
    """The steps after which it is looked whether to halve their length: 22 %, 41 %, ... of them, ever more often."""
    before, percent, found = 0, 22, set()
    while percent <= 100:
        found.add(-(-percent * steps // 100))
        before, percent = percent, percent + max(percent - before - 3, 6)
    return found


@dataclass(frozen=True, eq=False)
class _Point:
    """Where each search is, and what there is to see."""

    images: Images
    slopes: Images
    heights: PerImage
    margins: PerImage


def _point(problem: Problem, images: Images, toward: Problem, loss: Loss) -> _Point:
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        logits = finite(problem.model.logits(pixels))
        heights = loss(toward, logits)
        slopes = slope_at(pixels, heights)
    return _Point(images, slopes, heights.detach(), problem.margins(logits.detach()))


def _picked(first: Bool[Tensor, " n"], one: _Point, other: _Point) -> _Point:
    """Of two points of each search the first one where that is chosen."""
    wide = first.view(-1, 1, 1, 1)
    return _Point(
        torch.where(wide, one.images, other.images),
        torch.where(wide, one.slopes, other.slopes),
        torch.where(first, one.heights, other.heights),
        torch.where(first, one.margins, other.margins),
    )


def _farther(images: Images, margins: PerImage, other: Images, others: PerImage) -> tuple[Images, PerImage]:
    """Of two images the one farther beyond the goal, and how far."""
    return torch.where((others > margins).view(-1, 1, 1, 1), other, images), torch.maximum(others, margins)
