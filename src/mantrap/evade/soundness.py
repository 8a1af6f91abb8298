"""Signs that evasions fail because they cannot see, and not because a model is robust."""

import torch
from jaxtyping import Bool
from torch import Tensor

from mantrap.core import Problem
from mantrap.core.shapes import Images
from mantrap.errors import ModelError
from mantrap.evade.leading import slope_of
from mantrap.ops.pgd import slope
from mantrap.ops.scores import finite_logits

_TWICE = 1e-4
"""By how much, as a share of the range of its logits, a model may answer otherwise when it is asked again."""
_WHOLE = 1e-4
"""By how much probabilities may miss 1 in sum."""


def flat(problem: Problem) -> Bool[Tensor, " n"] | None:
    """Where the loss has no slope at all by any pixel, [n]; ``None`` where the answer is cut off from the pixels.

    Reference: Carlini et al., On Evaluating Adversarial Robustness, 2019, section 5 (gradient masking).
    """
    try:
        slopes = slope_of(problem, problem.images)
    except ModelError:
        return None
    return ~slopes.flatten(1).any(1)


def undecided(problem: Problem) -> bool:
    """Whether the model gives the same images other answers when it is asked again.

    Reference: Croce and Hein, Reliable evaluation of adversarial robustness, ICML 2020: AutoAttack warns of the same.
    """
    with torch.no_grad():
        first, second = (finite_logits(problem.model, problem.images) for _ in range(2))
    spread = (first.amax(1) - first.amin(1)).clamp_min(torch.finfo(first.dtype).tiny)
    return bool(((first - second).abs().amax(1) > _TWICE * spread).any())


def sums_to_one(problem: Problem) -> bool:
    """Whether the model gives probabilities instead of logits, whose loss is flat where it is sure."""
    with torch.no_grad():
        said = finite_logits(problem.model, problem.images)
    whole = (said.sum(1) - 1).abs() <= _WHOLE
    return bool(((said >= 0).all(1) & (said <= 1).all(1) & whole).all())


def margin_slope(problem: Problem) -> Images:
    """The gradient of each image's margin by its pixels, [n, c, h, w].

    Raises:
        ModelError: The model's answer is cut off from the pixels.
    """
    return slope(problem.model, problem.images, problem.anchors, lambda model, at, _: problem.margins(model.logits(at)))
