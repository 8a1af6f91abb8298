"""The tails of Student's t distribution, far out as well, for arrays and any number of degrees of freedom."""

import math

import numpy as np
from numpy.typing import NDArray

_MOST_TERMS = 300
_FARTHEST = 1e100
"""Beyond it a square leaves the range of doubles."""
_EXACT = 1e-15
_TINY = 1e-300


def log_upper_tail(t: NDArray[np.float64], freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of the chance of a value above t.

    Args:
        t: Any shape.
        freedom: Degrees of freedom above 0, the same shape.

    Reference: the regularised incomplete beta function by its continued fraction, as in Didonato and Morris, Algorithm
    708, ACM TOMS 1992: the two-sided tail is I_x(freedom / 2, 1 / 2) with x = freedom / (freedom + t^2).
    """
    t, freedom = np.broadcast_arrays(np.asarray(t, dtype=np.float64), np.asarray(freedom, dtype=np.float64))
    beyond = _log_both_tails(np.minimum(np.abs(t), _FARTHEST), freedom) - math.log(2)
    upper: NDArray[np.float64] = np.where(t >= 0, beyond, np.log1p(-np.exp(beyond)))
    return upper


def _log_both_tails(t: NDArray[np.float64], freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    square = t * t
    x, rest = freedom / (freedom + square), square / (freedom + square)
    a, b = freedom / 2, np.full_like(freedom, 0.5)
    direct = x < (a + 1) / (a + b + 2)
    first, second = np.where(direct, a, b), np.where(direct, b, a)
    at, left = np.where(direct, x, rest), np.where(direct, rest, x)
    log_beta = _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b)
    with np.errstate(divide="ignore"):
        scale = first * np.log(at) + second * np.log(left) - np.log(first) - log_beta
    part = scale + np.log(_fraction(at, first, second))
    tails: NDArray[np.float64] = np.where(direct, part, np.log1p(-np.minimum(np.exp(part), 1 - 1e-16)))
    return tails


def _log_gamma(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.vectorize(math.lgamma, otypes=[np.float64])(values)
    return logs


def _fraction(x: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    top = np.ones_like(x)
    below = 1 / _not_null(1 - (a + b) * x / (a + 1))
    value = below
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = np.ones_like(x)
        for term in (even, odd):
            below = 1 / _not_null(1 + term * below)
            top = _not_null(1 + term / top)
            change = top * below
            value = value * change
        if bool((np.abs(change - 1) < _EXACT).all()):
            break
    return value


def _not_null(values: NDArray[np.float64]) -> NDArray[np.float64]:
    kept: NDArray[np.float64] = np.where(np.abs(values) < _TINY, _TINY, values)
    return kept
