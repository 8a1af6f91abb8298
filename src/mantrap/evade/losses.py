"""What evasions make large for each image, of the logits."""

from collections.abc import Callable
from typing import Final, TypeAlias

from torch.nn.functional import cross_entropy

from mantrap.core import Problem
from mantrap.core.shapes import Logits
from mantrap.ops.pgd import PerImage

Loss: TypeAlias = Callable[[Problem, Logits], PerImage]
"""What to make large for each image to reach a problem's goal, given the model's answers."""

_NO_SPREAD: Final = 1e-12
"""Added to the spread, which is 0 where all logits are equal; the authors'."""


def log_likelihood(problem: Problem, logits: Logits) -> PerImage:
    """The cross-entropy with the own class, or less that with the target, [n]."""
    height = cross_entropy(logits, problem.anchors, reduction="none")
    return height if problem.goal.targets is None else -height


def difference_of_logits_ratio(problem: Problem, logits: Logits) -> PerImage:
    """By how much the goal's logit exceeds the own class's, over the spread of the highest logits, [n].

    It does not change where all logits are shifted or scaled, so it is as steep for a sure model as for another. Needs
    four classes.

    Reference: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks, ICML 2020, equations 6 and 7.
    """
    highest = logits.topk(4, dim=1).values
    if problem.goal.targets is None:
        gap, spread = problem.margins(logits), highest[:, 0] - highest[:, 2]
    else:
        own, target = (logits.gather(1, classes[:, None])[:, 0] for classes in (problem.labels, problem.goal.targets))
        gap, spread = target - own, highest[:, 0] - highest[:, 2:].mean(1)
    return gap / (spread + _NO_SPREAD)
