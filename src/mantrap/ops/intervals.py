"""How far a share measured on n images can be trusted."""

import math

from mantrap.records import Rate

_Z95 = 1.959963984540054


def wilson(hits: int, total: int) -> Rate:
    """A share with its Wilson score interval at 95 %.

    Args:
        hits: Number of successes, 0 to ``total``.
        total: Number of trials, at least 1.

    Returns:
        The share and the interval's ends, all in [0, 1].

    Raises:
        ValueError: ``total`` is not positive or ``hits`` not within it.

    Example:
        >>> rate = wilson(95, 100)
        >>> round(rate.low, 4), round(rate.high, 4)
        (0.8882, 0.9785)

    Reference: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
    """
    if total < 1 or not 0 <= hits <= total:
        raise ValueError(f"expected 0 <= hits <= total and total >= 1, got {hits} of {total}")
    share, z2 = hits / total, _Z95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == total else min(1.0, centre + half)
    return Rate(hits=hits, total=total, value=share, low=low, high=high)
