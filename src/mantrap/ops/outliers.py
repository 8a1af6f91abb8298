"""Which of a handful of numbers does not belong: the median absolute deviation."""

import statistics
from collections.abc import Sequence

CONSISTENCY = 1.4826
"""Makes the median absolute deviation of a normal sample an estimate of its standard deviation."""


def median(values: Sequence[float]) -> float:
    """The middle value; of an even number the mean of the two middle ones (``torch.median`` takes the lower)."""
    return statistics.median(values)


def mad(values: Sequence[float]) -> float:
    """Median absolute deviation from the median, times 1.4826."""
    centre = median(values)
    return CONSISTENCY * median([abs(v - centre) for v in values])


def anomaly_indices(values: Sequence[float], population: Sequence[float] | None = None) -> list[float]:
    """Signed MAD anomaly index of each value: how many deviations it lies below the median; above it, less than 0.

    Where the deviation is 0, because most values are equal, a value at the median has index 0 and another one an
    infinite index, which says just what a detector must know: nothing varies but this one.

    Args:
        values: At least one finite number.
        population: Whose median and deviation count, at least one finite number; those of the values where ``None``.

    Raises:
        ValueError: No value, or one that is not finite.

    Example:
        >>> [round(i, 2) for i in anomaly_indices([10.0, 11.0, 12.0, 13.0, 2.0])]
        [0.67, 0.0, -0.67, -1.35, 6.07]

    Reference: Hampel 1974, as used by Wang et al., Neural Cleanse, IEEE S&P 2019, section IV-C. Their index is the
    absolute value; here it has a sign, because only the low side speaks for a backdoor.
    """
    others = values if population is None else population
    if not others or not all(abs(v) < float("inf") for v in (*values, *others)):
        raise ValueError(f"expected finite values, got {list(values)} among {list(others)}")
    centre, spread = median(others), mad(others)
    if spread == 0:
        return [0.0 if v == centre else float("inf") if v < centre else -float("inf") for v in values]
    return [(centre - v) / spread for v in values]
