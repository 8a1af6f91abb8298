"""Part of the way from one model's weights to another's."""

import copy
from collections.abc import Callable

from mantrap.core import Classifier

_HALVINGS = 6


def part_way(before: Classifier, after: Classifier, share: float) -> Classifier:
    """A model whose weights lie between those of two others of one network.

    Args:
        before: Where the way begins.
        after: Where it ends, in eval mode.
        share: How far to go, in [0, 1]. What is no fraction, such as a count of batches, is that of the end.

    Reference: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, of whom it is known that accuracy
    along this way is as good as at its ends, or better.
    """
    made = copy.copy(after)
    made.module = copy.deepcopy(after.module)
    start = before.module.state_dict()
    weights = {
        name: start[name].lerp(tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in after.module.state_dict().items()
    }
    made.module.load_state_dict(weights)
    return made


def nearest(holds: Callable[[float], bool]) -> tuple[float, int]:
    """The smallest share in [0, 1] at which something holds, where it holds from some share on, to a 64th.

    Args:
        holds: Whether it holds at a share.

    Returns:
        The share, 1 where it holds nowhere, and how often was asked.
    """
    if not holds(1.0):
        return 1.0, 1
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high, 1 + _HALVINGS
