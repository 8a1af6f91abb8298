"""One perturbation for many images: which of them share it."""

from collections.abc import Callable
from typing import Final

from mantrap.core import Classifier, Problem, Rng
from mantrap.core.shapes import Images, Labels
from mantrap.ops.pgd import Climb, PerImage, away, towards

CLIPPED: Final = 9.0
"""Away from their classes no image's loss counts for more than this, or a few far gone would outweigh all others."""


def for_each_target(problem: Problem, found: Callable[[Problem, Rng], Images], rng: Rng) -> Images:
    """The images of a problem, led to their targets together: those of one target share one perturbation.

    Args:
        problem: What to lead where; away from their classes all images share one.
        found: Leads images with one goal.
        rng: Source of randomness.
    """
    targets = problem.goal.targets
    if targets is None:
        return found(problem, rng.child("away"))
    led = problem.images.clone()
    for target in targets.unique().tolist():
        chosen = targets == target
        led[chosen] = found(problem.only(chosen), rng.child("towards", target=target))
    return led


def shared_climb(problem: Problem) -> Climb:
    """What a perturbation that many images share makes large, on the average."""
    return _away_so_far if problem.goal.targets is None else towards


def _away_so_far(model: Classifier, images: Images, labels: Labels) -> PerImage:
    return away(model, images, labels).clamp(max=CLIPPED)
