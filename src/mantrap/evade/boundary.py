"""The boundary attack: a walk along the model's boundary that only asks for answers."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mantrap.core import SILENT, AnyNorm, Problem, Progress, Rng, require
from mantrap.core.shapes import Images
from mantrap.evade.nearest import Batch
from mantrap.ops.projections import norms, onto_box, steepest
from mantrap.ops.scores import finite_logits

Known: TypeAlias = Bool[Tensor, " n"]
_HALVINGS = 12
"""So often the way from an image to where its walk starts is cut in half."""
_EVERY, _WINDOW = 10, 10
"""Every how many steps the sphere is tried alone, and of how many such tries a step's length is judged by."""
_TOO_OFTEN, _TOO_SELDOM = 0.5, 0.2
"""Shares of tries on the sphere that say that the boundary looks flat from here, or that it does not."""
_CLOSER_OFTEN, _CLOSER_SELDOM = 0.25, 0.1
"""Shares of steps that were taken."""
_ADAPTED = 1.5
"""How much longer or shorter the next steps are."""


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Start at an image that the model takes for something else, and walk along its boundary towards the given one.

    It needs the model's answers only, and many of them. The walk starts at the nearest of the other images of the batch
    and of some that are drawn evenly that reaches the goal.

    Args:
        steps: How many.
        draws: Images of noise that are tried as a start for each image.
        around: Length of the first steps around the image, as a share of the distance to it.
        closer: Length of the first steps towards it, likewise.

    Reference: Brendel et al., Decision-based adversarial attacks: reliable attacks against black-box machine learning
    models, ICLR 2018, section 2 and figure 2.

    Deviations: the start is brought to the boundary by halving the way first; the sphere alone is tried in every tenth
    step only, as in the authors' code, and lengths are judged by ten such tries.
    """

    name: ClassVar[str] = "boundary"
    quick: ClassVar[str] = "boundary(steps=40, draws=5)"
    needs_gradients: ClassVar[bool] = False
    aims: ClassVar[bool] = True
    norm: ClassVar[AnyNorm] = "l2"
    steps: int = 5000
    draws: int = 25
    around: float = 0.1
    closer: float = 0.01

    def __post_init__(self) -> None:
        require(self.steps >= 1, field="steps", expected="of at least 1", got=self.steps)
        require(self.draws >= 0, field="draws", expected="of at least 0", got=self.draws)
        for name in ("around", "closer"):
            require(0 < getattr(self, name) < 1, field=name, expected="between 0 and 1", got=getattr(self, name))

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`."""
        return boundary(problem, self, rng, progress)


@torch.no_grad()
def boundary(problem: Problem, options: Boundary, rng: Rng, progress: Progress = SILENT) -> Images:
    """The nearest images that reach the goal, [n, c, h, w]; as they were where there is no start."""
    made, answers = problem.images.clone(), finite_logits(problem.model, problem.images)
    stands = (~problem.reached(answers)).nonzero()[:, 0]
    left = problem.only(stands)
    starts, known = _from_batch(left, problem.images, answers)
    starts, known = _from_noise(left, starts, known, options.draws, rng)
    rows, begun = stands[known], known.nonzero()[:, 0]
    left = left.only(begun)
    walk = _Walk(left, _halved(left, starts[begun]), options)
    generator = rng.child("steps").torch()
    with progress.stage("boundary", options.steps) as stage:
        for step in range(1, options.steps + 1):
            if len(rows):
                walk.go(torch.randn(left.images.shape, generator=generator), judged=step % _EVERY == 0)
            stage.advance()
    made[rows] = walk.images
    return made


def _from_batch(problem: Problem, others: Batch, answers: Float[Tensor, "m k"]) -> tuple[Images, Known]:
    """For each image the nearest of others that reaches its goal, and whether there is one, [n].

    Args:
        problem: Images that do not reach the goal yet.
        others: [m, c, h, w].
        answers: The model's to these.
    """
    said = answers.argmax(1)[None]
    anchors = problem.anchors[:, None]
    fits = said != anchors if problem.goal.targets is None else said == anchors
    apart = torch.cdist(problem.images.flatten(1), others.flatten(1)).masked_fill(~fits, torch.inf)
    return others[apart.argmin(1)], fits.any(1)


def _from_noise(problem: Problem, starts: Images, known: Known, draws: int, rng: Rng) -> tuple[Images, Known]:
    """The same with images of noise for those that still have no start."""
    generator = rng.child("starts").torch()
    for _ in range(draws):
        lost = (~known).nonzero()[:, 0]
        if not len(lost):
            break
        drawn = torch.rand(starts[lost].shape, generator=generator).to(starts.device)
        there = _there(problem.only(lost), drawn)
        starts[lost[there]], known[lost[there]] = drawn[there], True
    return starts, known


def _there(problem: Problem, images: Images) -> Bool[Tensor, " n"]:
    """Which images reach the goal, [n]: all that the attack is told."""
    return problem.reached(finite_logits(problem.model, images))


def _halved(problem: Problem, starts: Images) -> Images:
    """The first images that reach the goal on the way to the starts, [n, c, h, w], where halving the way finds them."""
    near = torch.zeros(len(problem), 1, 1, 1, device=starts.device)
    far = torch.ones_like(near)
    for _ in range(_HALVINGS if len(problem) else 0):
        middle = (near + far) / 2
        there = _there(problem, problem.images.lerp(starts, middle)).view(-1, 1, 1, 1)
        near, far = torch.where(there, near, middle), torch.where(there, middle, far)
    return problem.images.lerp(starts, far)


class _Walk:
    """Where each walk is, and how long its steps are."""

    def __init__(self, problem: Problem, images: Images, options: Boundary) -> None:
        self.problem, self.images = problem, images
        self._around = torch.full((len(problem), 1, 1, 1), options.around, device=images.device)
        self._closer = torch.full_like(self._around, options.closer)
        self._tries = torch.zeros(3, len(problem), device=images.device)
        """How often the sphere was tried, how often the goal was reached there, and how often closer to the image."""

    def go(self, noise: Images, *, judged: bool) -> None:
        """One step of each: around the image on a sphere, then towards it."""
        given = self.problem.images
        way = given - self.images
        far = norms(way, "l2").view(-1, 1, 1, 1)
        side = noise.to(given.device)
        ahead = steepest(way, "l2")
        side = steepest(side - (side * ahead).sum((1, 2, 3), keepdim=True) * ahead, "l2")
        sphere = onto_box(given + (self._around * far * side - way) / (1 + self._around**2).sqrt())
        inwards = given - sphere
        length = norms(inwards, "l2").view(-1, 1, 1, 1)
        share = ((self._closer * far + length - far).clamp_min(0) / length).nan_to_num(0.0).clamp_max(1.0)
        tried = onto_box(sphere + share * inwards)
        there = _there(self.problem, tried)
        nearer = norms(tried - given, "l2") < far.flatten()
        self.images = torch.where((there & nearer).view(-1, 1, 1, 1), tried, self.images)
        if judged:
            self._tries += torch.stack([torch.ones_like(there), _there(self.problem, sphere), there])
            self._adapt()

    def _adapt(self) -> None:
        """Longer steps where most succeed, shorter ones where few do."""
        tried, on_sphere, closer = self._tries
        full = tried >= _WINDOW
        flat, bent = full & (on_sphere > _TOO_OFTEN * tried), full & (on_sphere < _TOO_SELDOM * tried)
        often, seldom = full & (closer > _CLOSER_OFTEN * tried), full & (closer < _CLOSER_SELDOM * tried)
        around = _ADAPTED ** (flat.float() - bent.float())
        self._around *= around.view(-1, 1, 1, 1)
        self._closer *= (around * _ADAPTED ** (often.float() - seldom.float())).view(-1, 1, 1, 1)
        self._tries *= ~full
