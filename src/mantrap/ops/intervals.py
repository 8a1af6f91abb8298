"""How far a share measured on n images can be trusted."""

import math

from mantrap.records import Difference, Rate

Z95 = 1.959963984540054
"""Standard deviations of a normal distribution that 95 % lie within."""


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
    share, z2 = hits / total, Z95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == total else min(1.0, centre + half)
    return Rate(hits=hits, total=total, value=share, low=low, high=high)


def paired_difference(*, both: int, first: int, second: int, neither: int) -> Difference:
    """The difference of two shares of the same trials, with its interval at 95 %.

    Two models that are measured on the same images mostly fail on the same ones, which makes the difference far more
    certain than two intervals side by side would say. The ends come from the Wilson intervals of both shares and their
    correlation, so that they stay inside [-1, 1] and do not collapse when the two never differ.

    Args:
        both: Trials in which both succeed.
        first: Trials in which only the first succeeds.
        second: Trials in which only the second succeeds.
        neither: Trials in which neither does.

    Returns:
        Both shares, and first less second.

    Raises:
        ValueError: A count is negative, or there is no trial.

    Example:
        >>> change = paired_difference(both=960, first=5, second=15, neither=20)
        >>> round(change.value, 4), round(change.low, 4), round(change.high, 4)
        (-0.01, -0.0201, -0.0009)

    Reference: R. G. Newcombe, Improved confidence intervals for the difference between binomial proportions based on
    paired data, Statistics in Medicine 17, 1998, method 10 (Wilson intervals, continuity-corrected correlation).
    """
    total = both + first + second + neither
    if min(both, first, second, neither) < 0:
        raise ValueError(f"expected counts of at least 0, got {both}, {first}, {second}, {neither}")
    one, other = wilson(both + first, total), wilson(both + second, total)
    association = float(both * neither - first * second)
    if association > 0:
        association = max(association - total / 2, 0.0)
    spread = math.sqrt((both + first) * (second + neither) * (both + second) * (first + neither))
    phi = association / spread if spread else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    value = (first - second) / total
    low = value - reach(one.value - one.low, other.high - other.value)
    high = value + reach(one.high - one.value, other.value - other.low)
    return Difference(first=one, second=other, value=value, low=max(low, -1.0), high=min(high, 1.0))


def unpaired_difference(first: Rate, second: Rate) -> Difference:
    """The difference of two shares of different trials, with its interval at 95 %.

    Where the trials are the same after all, and only the counts are known, the interval is mostly too wide: what two
    models have in common is not known then.

    Args:
        first: A share with its Wilson interval.
        second: Another one.

    Returns:
        Both shares, and first less second.

    Example:
        >>> change = unpaired_difference(wilson(56, 70), wilson(48, 80))
        >>> round(change.value, 4), round(change.low, 4), round(change.high, 4)
        (0.2, 0.0524, 0.3339)

    Reference: R. G. Newcombe, Interval estimation for the difference between independent proportions: comparison of
    eleven methods, Statistics in Medicine 17, 1998, method 10 (Wilson intervals without continuity correction); the
    example is the first of its table II.
    """
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Difference(first=first, second=second, value=value, low=max(low, -1.0), high=min(high, 1.0))
