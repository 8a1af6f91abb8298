"""DeepFool: over the nearest of the planes that the model's boundaries look like."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mantrap.core import SILENT, Classifier, Problem, Progress, Rng, require
from mantrap.core.shapes import Images, Logits
from mantrap.evade.nearest import Rows, rounding, surely
from mantrap.ops.pgd import slope_at
from mantrap.ops.projections import Norm, norms, onto_box, steepest
from mantrap.ops.scores import finite_logits


@dataclass(frozen=True, kw_only=True)
class DeepFool:
    """Step onto the nearest class boundary as it looks from here, again and again: DeepFool.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: At most.
        overshoot: How much farther than to the boundary, as a share of the way.
        candidates: Of how many other classes the boundaries are looked at, the likeliest first.

    Reference: Moosavi-Dezfooli et al., DeepFool: a simple and accurate method to fool deep neural networks, CVPR 2016,
    algorithm 2 and section 3.3.

    Deviations: only the likeliest classes are looked at (of ten, four give the same lengths as all others do); images
    are clipped to [0, 1] before the model is asked; the overshoot is part of every point that is asked about, not of
    the last one only; each step aims beyond the boundary by what logits may round, or the search would come to lie on
    the boundary and not cross it.
    """

    name: ClassVar[str] = "deepfool"
    quick: ClassVar[str] = "deepfool(steps=20)"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = False
    norm: Norm = "l2"
    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 4

    def __post_init__(self) -> None:
        require(self.steps >= 1, field="steps", expected="of at least 1", got=self.steps)
        require(self.overshoot > 0, field="overshoot", expected="above 0", got=self.overshoot)
        require(self.candidates >= 1, field="candidates", expected="of at least 1", got=self.candidates)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`; nothing is drawn."""
        del rng
        return deepfool(problem, self, progress)


def deepfool(problem: Problem, options: DeepFool, progress: Progress = SILENT) -> Images:
    """Images beyond the nearest boundary, [n, c, h, w]; as they were where none was crossed."""
    made = problem.images.clone()
    rows, left = torch.arange(len(problem), device=made.device), problem
    moved, way = problem.images, torch.zeros_like(made)
    with progress.stage("deepfool", options.steps) as stage:
        for step in range(options.steps + 1):
            pixels, logits = _asked(problem.model, moved)
            there = left.reached(logits) if step == 0 else surely(left, logits)
            stands = (~there).nonzero()[:, 0]
            made[rows[there]] = moved[there]
            if step == options.steps or not len(stands):
                stage.advance(options.steps - step)
                break
            if len(stands) < len(rows):
                rows, left, moved, way = rows[stands], left.only(stands), moved[stands], way[stands]
                if len(there) - len(stands) > len(stands) / options.candidates:  # asking again is the cheaper way back
                    pixels, logits = _asked(problem.model, moved)
                    stands = torch.arange(len(rows), device=made.device)
            way = way + _to_nearest_plane(problem.labels[rows], pixels, logits, stands, options)
            moved = onto_box(left.images + (1 + options.overshoot) * way)
            stage.advance()
    return made


def _asked(model: Classifier, images: Images) -> tuple[Images, Logits]:
    """Images to which a gradient can come back, and the model's answers to them."""
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        return pixels, finite_logits(model, pixels)


def _to_nearest_plane(labels: Rows, pixels: Images, logits: Logits, rows: Rows, options: DeepFool) -> Tensor:
    """The shortest steps from some of the images to where one of the likeliest other classes draws level, [m, c, h, w].

    As if all logits were linear in the pixels.

    Args:
        labels: The classes to leave, [m].
        pixels: [n, c, h, w].
        logits: The model's answers to these, with the way back kept.
        rows: Of which of them, [m].
        options: Norm and candidates.
    """
    own = logits.detach()[rows].scatter(1, labels[:, None], -torch.inf)
    likely = own.topk(min(options.candidates, own.shape[1] - 1), dim=1).indices
    beyond = 2 * rounding(logits.detach()[rows])  # where two classes are level the answer hangs on rounding
    step, nearest = torch.zeros_like(pixels[rows]), torch.full_like(own[:, 0], torch.inf)
    for rank in range(likely.shape[1]):
        with torch.enable_grad():
            heights = logits[rows, likely[:, rank]] - logits[rows, labels]
        slopes = slope_at(pixels, heights, again=True)[rows]
        steep = norms(slopes, "l2" if options.norm == "l2" else "l1")
        far = torch.where(steep > 0, (beyond - heights.detach()) / steep, torch.inf)
        nearer = far < nearest
        nearest = torch.where(nearer, far, nearest)
        direction = steepest(slopes, options.norm)
        step = torch.where(nearer.view(-1, 1, 1, 1), far.view(-1, 1, 1, 1) * direction, step)
    return step
