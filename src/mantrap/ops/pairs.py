"""Which ordered pair of classes is easier to take for one another than its source, its target and a copy explain?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mantrap.ops.student import log_upper_tail

FEWEST_CLASSES = 4
"""Of fewer there are no more pairs than sources and targets explain."""
SPREAD, FREEDOM = 0.2, 8.0
"""Of clean models of the zoo's tune split, in the middle, and the weight that makes few pairs as sure as many."""
_LEAST = 1e-3
"""Norms below a thousandth of a pixel are alike."""


@dataclass(frozen=True)
class PairStanding:
    """How one pair stands.

    Args:
        source: The class.
        target: What its images are sent to.
        easier: The logarithm of how many times smaller its norm is than expected.
        log_chance: Logarithm of the chance that this pair, chosen beforehand, stands as far out by chance.
    """

    source: int
    target: int
    easier: float
    log_chance: float


def pair_standings(
    norms: Mapping[tuple[int, int], float],
    copied: Mapping[tuple[int, int], float],
    *,
    spread: float = SPREAD,
    freedom: float = FREEDOM,
) -> list[PairStanding]:
    """How the pairs of a model stand, the one that is easier than expected by most first.

    The logarithm of a norm is explained by its source, by its target, and by the logarithm of the same pair's norm in a
    copy of the model that was retrained on clean images: classes that are alike are alike there too. Each pair is
    compared with what the others say of it, in units of a spread that is averaged from theirs and from the usual one.

    Args:
        norms: By source and target; infinite where nothing worked, which counts as the largest that did.
        copied: The same in the copy.
        spread: What is usual, of logarithms of norms.
        freedom: How many pairs that counts as.

    Returns:
        One for each pair that both have; none where there are too few to say anything.

    Reference: Cook and Weisberg, Residuals and Influence in Regression, 1982, section 2.2, for residuals whose own case
    is left out; Smyth, Statistical Applications in Genetics and Molecular Biology 2004, for the spread.
    """
    pairs = sorted(set(norms) & set(copied))
    if not pairs or not any(math.isfinite(norms[p]) for p in pairs) or not any(math.isfinite(copied[p]) for p in pairs):
        return []
    y, beside = (_logs([one[p] for p in pairs]) for one in (norms, copied))
    design = np.column_stack([_sides(pairs), beside])
    hat = design @ np.linalg.pinv(design)
    left = len(pairs) - round(float(np.trace(hat))) - 1
    if left < 1:
        return []
    residual, alone = y - hat @ y, np.maximum(1 - np.diag(hat), 1e-9)
    own = np.maximum(((residual**2).sum() - residual**2 / alone) / left, 0.0)
    usual = (freedom * spread**2 + left * own) / (freedom + left)
    logs = log_upper_tail(-residual / np.sqrt(usual * alone), np.full(len(pairs), freedom + left))
    found = [
        PairStanding(source, target, float(-r / a), float(log))
        for (source, target), r, a, log in zip(pairs, residual, alone, logs, strict=True)
    ]
    return sorted(found, key=lambda one: (one.log_chance, one.source, one.target))


def _sides(pairs: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Which source and which target each pair has: a column of 0 and 1 for each of them."""
    columns = [[float(pair[side] == k) for pair in pairs] for side in (0, 1) for k in sorted({p[side] for p in pairs})]
    return np.array(columns).T


def _logs(norms: list[float]) -> NDArray[np.float64]:
    """Logarithms; of an infinite norm that of the largest finite one."""
    largest = max(n for n in norms if math.isfinite(n))
    logs: NDArray[np.float64] = np.log([max(_LEAST, min(n, largest)) for n in norms])
    return logs
