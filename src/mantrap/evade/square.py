"""Square Attack: a random search that asks the model for nothing but its answers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import SILENT, Problem, Progress, Rng, Stage, require
from mantrap.core.shapes import Images, Logits
from mantrap.evade.losses import log_likelihood
from mantrap.ops.paste import Corners, Patches, cut, paste
from mantrap.ops.pgd import PerImage
from mantrap.ops.projections import Norm, check_ball, onto_ball, onto_box, require_ball, steepest
from mantrap.ops.scores import finite_logits

HALVED: Final = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After so many of 10,000 queries the share of pixels that a square covers is halved."""
_SMALLEST: Final = {"linf": 1, "l2": 3}
_TILES: Final = 5
"""So many tiles, and more where they fit, lie along the shorter side where a search in an L2 ball begins."""

Draw: TypeAlias = Callable[..., Tensor]
"""Gives numbers in [0, 1), of the shape asked for, to each image of a batch."""


@dataclass(frozen=True, kw_only=True)
class Square:
    """Change squares at random, and keep what helps; no gradient is asked for: the Square Attack.

    It shows that a model holds where gradients say nothing, because they are 0, rounded away or drawn at random.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        queries: How often the model is asked for an image at most; an image that is there is left alone.
        share: Part of the pixels that a square covers at first.

    Reference: Andriushchenko et al., Square Attack, ECCV 2020, algorithms 1 to 3 and section 3; ``share`` as in
    AutoAttack (Croce and Hein, ICML 2020).

    Deviations: the first query is the image itself. Where an L2 search begins there are more tiles than five by five on
    small or oblong images, as many as fit. Squares come to lie at every edge; in the authors' code, and in what follows
    that, none reaches the last row or column, which helps a little where these say nothing.
    """

    name: ClassVar[str] = "square"
    quick: ClassVar[str] = "square(eps=0.1, queries=300)"
    needs_gradients: ClassVar[bool] = False
    aims: ClassVar[bool] = True
    eps: float = 0.25
    norm: Norm = "linf"
    queries: int = 5000
    share: float = 0.8

    def __post_init__(self) -> None:
        require_ball(self.eps, self.norm)
        require(self.queries >= 2, field="queries", expected="of at least 2", got=self.queries)
        require(0 < self.share <= 1, field="share", expected="above 0 and at most 1", got=self.share)

    def side(self, query: int, height: int, width: int) -> int:
        """How wide a square is; in an L2 ball an odd number of pixels, so that it has a middle."""
        halvings = sum(10_000 * query > after * self.queries for after in HALVED)
        side = max(round(math.sqrt(self.share / 2**halvings * height * width)), _SMALLEST[self.norm])
        return min(side + 1 - side % 2 if self.norm == "l2" else side, height, width)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`."""
        check_ball(self.eps, self.norm, problem.model.input_shape)
        with progress.stage(self.name, self.queries) as stage, torch.no_grad():
            return square(problem, self, rng=rng, stage=stage)


def square(problem: Problem, settings: Square, *, rng: Rng, stage: Stage) -> Images:
    """Images that a random search has led to the goal, or as near as it came, [n, c, h, w].

    What an image meets does not hang on the others: each step draws for all of them, whether or not they are there.
    """
    generator, (_, height, width) = rng.torch(), problem.model.input_shape
    kept = problem.images.clone()
    left = (~problem.reached(finite_logits(problem.model, kept))).nonzero()[:, 0]

    def draw(*shape: int) -> Tensor:
        return torch.rand(len(problem), *shape, generator=generator).to(kept.device)[left]

    here, at = problem.only(left), kept[left]
    heights = torch.full((len(left),), -torch.inf, device=kept.device)
    stage.advance()
    for query in range(1, settings.queries):
        stage.advance()
        if not len(left):
            continue
        if query == 1:
            tried = _begun(here.images, settings, draw)
        else:
            tried = _moved(here.images, at, settings, draw, settings.side(query, height, width))
        logits = finite_logits(problem.model, tried)
        now, there = _heights(here, logits), here.reached(logits)
        better = (now > heights) | there
        at, heights = torch.where(better.view(-1, 1, 1, 1), tried, at), torch.where(better, now, heights)
        if bool(there.any()):
            kept[left[there]] = at[there]
            left, here, at, heights = left[~there], here.only(~there), at[~there], heights[~there]
    kept[left] = at
    return kept


def _heights(problem: Problem, logits: Logits) -> PerImage:
    """What is made large: away from a class the margin, towards one its log-likelihood."""
    return problem.margins(logits) if problem.goal.targets is None else log_likelihood(problem, logits)


def _begun(images: Images, settings: Square, draw: Draw) -> Images:
    """Where the search begins: stripes of one column each in an L-infinity ball, tiles in an L2 ball."""
    _, channels, height, width = images.shape
    if settings.norm == "linf":
        return onto_box(images + settings.eps * _signs(draw(channels, 1, width)))
    side = max(min(height, width) // _TILES, 1)
    down, across = height // side, width // side
    tiles = _signs(draw(channels, down, across))[..., None, None] * _bumps(draw(1, down, across), side)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    whole = torch.zeros_like(images)
    whole[..., top : top + down * side, left : left + across * side] = tiles.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return onto_box(images + settings.eps * steepest(whole, "l2"))


def _moved(images: Images, at: Images, settings: Square, draw: Draw, side: int) -> Images:
    """The next points to try, one square of each image changed."""
    channels = images.shape[1]
    corners = _corners(draw(2), images, side)
    if settings.norm == "linf":
        within = cut(images, corners, side, side)
        return paste(at, onto_box(within + settings.eps * _signs(draw(channels, 1, 1))), corners)
    change, others = at - images, _corners(draw(2), images, side)
    blank = torch.zeros(len(images), 1, side, side, device=images.device)
    windows = paste(paste(torch.ones_like(change[:, :1]), blank, corners), blank, others) == 0
    unused = (settings.eps**2 - change.square().sum((1, 2, 3), keepdim=True)).clamp_min(0)
    lengths = (unused / channels + (change * windows).square().sum((2, 3), keepdim=True)).sqrt()
    fresh = _signs(draw(channels, 1, 1)) * _bumps(draw(1), side) + _by_channel(cut(change, corners, side, side))
    change = paste(change.masked_fill(windows, 0.0), lengths * _by_channel(fresh), corners)
    return onto_box(images + onto_ball(change, settings.eps, "l2"))


def _signs(drawn: Tensor) -> Tensor:
    """Up or down, 1 or -1."""
    return torch.where(drawn < 0.5, 1.0, -1.0)


def _corners(drawn: Float[Tensor, "n 2"], images: Images, side: int) -> Corners:
    """Upper left pixels of squares, evenly among all places where these fit."""
    rooms = torch.tensor(images.shape[2:], device=images.device) - side + 1
    return (drawn * rooms).long()


def _by_channel(patches: Patches) -> Patches:
    """Each channel of each patch over its length, or 0."""
    return steepest(patches.flatten(0, 1)[:, None], "l2").view_as(patches)


def _bumps(drawn: Tensor, side: int) -> Float[Tensor, "... s s"]:
    """A hill beside a hollow of length 1, above it or to its left, for each number drawn, [..., side, side]."""
    upper = side // 2
    bump = torch.cat([_hill(upper, side), -_hill(side - upper, side)]).to(drawn.device)
    bump = bump / bump.norm()
    return torch.where(drawn[..., None, None] < 0.5, bump, bump.T)


def _hill(height: int, width: int) -> Float[Tensor, "s t"]:
    """Highest in the middle and the lower the farther from there, of length 1."""
    rows, columns = ((torch.arange(side) - side // 2).abs() for side in (height, width))
    rings = torch.maximum(rows[:, None], columns)
    falling = (1 / torch.arange(1, max(height, width) // 2 + 2).square()).flip(0).cumsum(0).flip(0)
    hill: Tensor = falling[rings]
    return hill / hill.norm() if height else hill
