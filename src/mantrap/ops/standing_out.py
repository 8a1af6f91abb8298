"""How likely it is by chance that the largest of some numbers stands out as far as it does."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import Rng

FEWEST = 4
"""Numbers that are needed: fewer say nothing of how far apart they lie."""

_SAMPLES = 4000
_MOST_DRAWN = 400_000
_MANY = 800
"""Numbers from which on the fit is as good as the truth, and nothing is drawn."""
_NEWTON = 12
_ALIKE = 1e-9
"""Relative spread below which numbers are equal."""


def chance_of_largest(values: Sequence[float], rng: Rng, *, left_out: int = 0) -> float | None:
    """The chance that the largest of so many gamma-distributed numbers stands as far from the others.

    A gamma distribution is fitted to all numbers but the largest, and the chance of a number beyond the largest is read
    off it: that is how far it stands out. As the fit has left the largest out, and rests on few numbers, this chance is
    no p-value yet. So the same is done with samples of as many numbers, drawn from the distribution that fits them all:
    the share of them that stand out as far is the answer. It depends on ratios alone, not on the unit.

    Args:
        values: Positive numbers, one for each label, large ones suspicious.
        rng: Source of the samples.
        left_out: How many more there are that are too small to be known. Samples are cut in the same way.

    Returns:
        A p-value in (0, 1], for all labels together; ``None`` for fewer than four numbers.

    Raises:
        ValueError: A number that is not positive and finite.

    Reference: Wang, Xiang, Miller and Kesidis, MM-BD, IEEE S&P 2024, for the gamma distribution fitted to
    all but the largest. Deviations: no offset is fitted; the chance is corrected by the parametric bootstrap (Efron and
    Tibshirani, An introduction to the bootstrap, 1993, chapter 16).
    """
    if not all(0 < v < math.inf for v in values):
        raise ValueError(f"expected positive numbers, got {list(values)}")
    if len(values) < FEWEST:
        return None
    numbers = torch.tensor(sorted(values), dtype=torch.float64)  # so that the last digits do not depend on their order
    numbers = numbers / numbers.mean()
    if float(numbers.max() - numbers.min()) < _ALIKE:
        return 1.0
    far = _log_chance(numbers)
    if len(values) > _MANY:
        return -math.expm1((len(values) + left_out) * math.log1p(-math.exp(min(float(far), -1e-15))))
    shape, _ = _fit(numbers)
    if left_out:
        # What is left looks more alike than the whole. How much more so, a sample that is cut in the same way shows.
        shape = shape**2 / _fit(_drawn(shape, numbers, left_out, rng.child("trial")))[0].median()
    drawn = _drawn(shape, numbers, left_out, rng)
    return (1 + int((_log_chance(drawn) <= far).sum())) / (len(drawn) + 1)


def _drawn(shape: Float[Tensor, ""], like: Float[Tensor, " n"], left_out: int, rng: Rng) -> Float[Tensor, "s n"]:
    """Samples of as many numbers from a gamma distribution, the largest of some more."""
    count = len(like) + left_out
    with rng.as_global():
        samples = (min(_SAMPLES, max(1, _MOST_DRAWN // count)), count)
        drawn = torch.distributions.Gamma(shape, torch.ones_like(shape)).sample(samples)
    return drawn.sort(-1).values[:, left_out:]


def _log_chance(numbers: Float[Tensor, "*s n"]) -> Float[Tensor, "*s"]:
    """Logarithm of the chance of a number beyond the largest, by a gamma distribution fitted to the others."""
    ordered = numbers.sort(-1).values
    shape, scale = _fit(ordered[..., :-1])
    chance: Tensor = torch.special.gammaincc(shape, ordered[..., -1] / scale)
    return chance.clamp_min(1e-300).log()


def _fit(numbers: Float[Tensor, "*s n"]) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
    """Shape and scale of the gamma distribution of the largest likelihood.

    Reference: Minka, Estimating a gamma distribution, 2002: Newton's method on the logarithm's equation.
    """
    mean = numbers.mean(-1)
    gap = (mean.log() - numbers.clamp_min(1e-300).log().mean(-1)).clamp_min(_ALIKE)
    shape = (3 - gap + ((gap - 3) ** 2 + 24 * gap).sqrt()) / (12 * gap)
    for _ in range(_NEWTON):
        error = shape.log() - torch.special.digamma(shape) - gap
        better = shape - error / (1 / shape - torch.special.polygamma(1, shape))
        shape = torch.where(better > 0, better, shape / 2)
    return shape, mean / shape
