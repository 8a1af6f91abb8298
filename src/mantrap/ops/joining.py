"""Several p-values as one."""

import math
from collections.abc import Sequence


def joined(found: Sequence[tuple[float, int]]) -> tuple[float, int] | None:
    """One p-value, and one label, of several tests that each name the label that stands out most.

    Where all name the same label, their p-values are joined as Fisher has it; else the smallest counts, times their
    number, as Bonferroni has it. Without a backdoor tests seldom agree by chance, so the joint value errs on the high
    side as far as they are independent.

    Args:
        found: The p-value of each test in (0, 1], and the label that it names.

    Returns:
        ``None`` without any test.

    Example:
        >>> joined([(0.01, 3), (0.02, 3)]), joined([(0.01, 3), (0.02, 5)])
        ((0.0019..., 3), (0.02, 3))

    Reference: Fisher, Statistical methods for research workers, 1932, section 21.1.
    """
    if not found:
        return None
    least, first = min(found)
    if len({label for _, label in found}) > 1:
        return min(1.0, len(found) * least), first
    rate = -sum(math.log(p) for p, _ in found)
    return math.exp(-rate) * sum(rate**k / math.factorial(k) for k in range(len(found))), first
