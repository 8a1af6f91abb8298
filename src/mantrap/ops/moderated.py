"""Does a number stand out from a few others, when it is known how such numbers scatter elsewhere? Moderated t tests."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mantrap.ops.student import log_upper_tail
from mantrap.records import Scatter

FEWEST_MODELS = 3
"""Models that a scatter is learned from, at least."""

MOST_FREEDOM = 20.0
"""Whatever was learned from some models, one more may differ from all of them."""

_MIDDLE_FROM = 5
_LOWEST = 3.0
"""Spreads below the middle at which a height is cut."""
_NEWTON = 60
_CLOSE = 1e-10
_LEAST_SPREAD = 1e-6


def fit_scatter(trait: str, models: Sequence[Sequence[float]], *, level: bool) -> Scatter:
    """Learn how a trait scatters over the labels of models without a backdoor.

    Each model has a variance of its own, drawn from a scaled inverse chi-squared distribution, whose scale and degrees
    of freedom follow from the mean and the variance of the logarithms of the variances that were seen.

    Args:
        trait: Its name.
        models: For each model the trait's height for each label; models of fewer than two labels say nothing of the
            spread.
        level: Whether the mean height says something; else only differences between labels do.

    Raises:
        ValueError: Fewer than three models of two labels or more.

    Reference: Smyth, Linear models and empirical Bayes methods for assessing differential expression, Statistical
    Applications in Genetics and Molecular Biology 2004, section 6.2.
    """
    known = [np.asarray(m, dtype=np.float64) for m in models if len(m) > 1]
    if len(known) < FEWEST_MODELS:
        raise ValueError(f"expected at least {FEWEST_MODELS} models of two labels or more, got {len(known)}")
    usual = float(np.median([m.std(ddof=1) for m in known]))
    known = [_not_too_low(m, np.full(len(m), True), usual) for m in known]
    seen = np.array([len(m) - 1 for m in known], dtype=np.float64)
    variances = np.maximum([float(m.var(ddof=1)) for m in known], _LEAST_SPREAD**2)
    logs = np.log(variances) - _polygamma(0, seen / 2) + np.log(seen / 2)
    more = float(logs.var(ddof=1) - _polygamma(1, seen / 2).mean())
    freedom = min(MOST_FREEDOM, 2 * _inverse_trigamma(more)) if more > 0 else MOST_FREEDOM
    scale = math.exp(float(logs.mean()) + float(_polygamma(0, np.array([freedom / 2]))[0]) - math.log(freedom / 2))
    means = np.array([float(np.mean(m)) for m in models if len(m)])
    # What the means vary by, less what they would vary by if all models were alike.
    own = float(np.mean([scale / len(m) for m in models if len(m)]))
    between = math.sqrt(max(float(means.var(ddof=1)) - own, own)) if level else None
    return Scatter(
        trait=trait,
        spread=math.sqrt(scale),
        freedom=freedom,
        centre=float(means.mean()),
        between=between,
        models=len(means),
        labels=sum(map(len, models)),
    )


def log_chances(heights: Sequence[float], scatter: Scatter, *, population: Sequence[bool] | None = None) -> list[float]:
    """For each label the logarithm of the chance that it stands as high, judging by the others and by other models.

    A label is compared with the mean of the others. Their variance and the one that is usual elsewhere are averaged,
    each with the weight of its degrees of freedom, so that few labels are enough, and many speak for themselves. Where
    the level says something, so does the mean that is usual elsewhere; the fewer labels, the more.

    Args:
        heights: One for each label, any number of labels.
        scatter: How such numbers scatter over the labels of models without a backdoor.
        population: Which of the labels the others are; all where ``None``. Labels that were chosen for their heights
            are no fair sample of the others, and are left out of it.

    Returns:
        In the order of the labels, 0 or less.

    Reference: Smyth 2004, section 4, for the moderated t; the mean is that of a normal model of two levels.
    """
    among = np.ones(len(heights)) if population is None else np.asarray(population, dtype=np.float64)
    values = _not_too_low(np.asarray(heights, dtype=np.float64), among > 0, scatter.spread)
    count = among.sum() - among
    total, squares = (among * values).sum(), (among * values**2).sum()
    mean = (total - among * values) / np.maximum(count, 1)
    sum_of_squares = np.maximum(squares - among * values**2 - count * mean**2, 0)
    seen = np.maximum(count - 1, 0)
    freedom = scatter.freedom + seen
    variance = (scatter.freedom * scatter.spread**2 + sum_of_squares * (seen > 0)) / freedom
    usual, unsure = _predicted(mean, variance, count, scatter)
    tails = log_upper_tail((values - usual) / np.sqrt(variance + unsure), freedom)
    told = (count > 0) | (scatter.between is not None)  # else there is nothing to compare it with
    return [float(tail) for tail in np.where(told, tails, 0.0)]


def log_chance_of_level(heights: Sequence[float], scatter: Scatter) -> float:
    """The logarithm of the chance that labels stand as high in the mean; 0 where the level says nothing."""
    if scatter.between is None or not len(heights):
        return 0.0
    values = np.asarray(heights, dtype=np.float64)
    unsure = scatter.between**2 * (1 + 1 / scatter.models) + scatter.spread**2 / len(values)
    distance = (float(values.mean()) - scatter.centre) / math.sqrt(unsure)
    return float(log_upper_tail(np.array([distance]), np.array([max(scatter.models - 1.0, 1.0)]))[0])


def joined(logs: Sequence[float], covariance: Sequence[Sequence[float]]) -> float:
    """Several chances, given by their logarithms, as one.

    The sum of -2 log p has a chi-squared distribution where the chances are independent; where they are not, a scaled
    one of the same mean and variance.

    Args:
        logs: Logarithms of the chances.
        covariance: Of -2 log p between them; 4 on the diagonal.

    Returns:
        The logarithm of the chance.

    Example:
        >>> round(math.exp(joined([math.log(0.05)] * 2, [[4, 0], [0, 4]])), 4)
        0.0175
        >>> round(math.exp(joined([math.log(0.05)] * 2, [[4, 4], [4, 4]])), 4)
        0.05

    Reference: Brown, A method for combining non-independent, one-sided tests of significance, Biometrics 1975.
    """
    return float(joined_by_row(np.array([logs], dtype=np.float64), covariance)[0])


def joined_by_row(logs: NDArray[np.float64], covariance: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The same for each row of logarithms, [n, k]: one for each, [n]."""
    if not logs.shape[1]:
        return np.zeros(len(logs))
    mean, variance = 2.0 * logs.shape[1], float(np.sum(covariance))
    shape, scale = mean * mean / variance, variance / mean
    where = -2 * logs.sum(1) / scale
    chance = torch.special.gammaincc(torch.full((len(where),), shape, dtype=torch.float64), torch.from_numpy(where))
    # So far out that a double holds no chance, the tail's leading term is near enough.
    far = (shape - 1) * np.log(np.maximum(where, 1.0)) - where - math.lgamma(shape)
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = np.where(chance.numpy() > 0, np.log(chance.numpy()), far)
    return found


def _not_too_low(values: NDArray[np.float64], population: NDArray[np.bool_], spread: float) -> NDArray[np.float64]:
    """The values, those far below a population's middle raised: only high ones count, and a low one shall hide none."""
    if population.sum() < _MIDDLE_FROM:
        return values
    raised: NDArray[np.float64] = np.maximum(values, np.median(values[population]) - _LOWEST * spread)
    return raised


def _predicted(
    mean: NDArray[np.float64], variance: NDArray[np.float64], count: NDArray[np.float64], scatter: Scatter
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a label's height should be, given so many others, and the variance of this guess."""
    others = np.maximum(count, 1)
    if scatter.between is None:
        return mean, variance / others
    elsewhere = scatter.between**2 * (1 + 1 / scatter.models)
    weight = np.where(count > 0, elsewhere / (elsewhere + variance / others), 0.0)
    unsure = np.where(count > 0, weight * variance / others, elsewhere)
    return weight * mean + (1 - weight) * scatter.centre, unsure


def _polygamma(order: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = torch.special.polygamma(order, torch.from_numpy(values)).numpy()
    return found


def _inverse_trigamma(value: float) -> float:
    """The number whose trigamma is the value, by Newton's method on its reciprocal (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(_NEWTON):
        at = np.array([x])
        trigamma = float(_polygamma(1, at)[0])
        step = trigamma * (1 - trigamma / value) / float(_polygamma(2, at)[0])
        x += step
        if abs(step) < _CLOSE * x:
            break
    return x
