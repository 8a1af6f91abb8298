"""Many labels: most are given up early, and those that look likeliest to be a target are searched to the end.

Whoever compares labels needs a fair sample of them. So some are drawn at random and searched to the end whatever they
look like; the others that get that far were chosen for how they look, and are compared with those alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mantrap.core import Rng

LOOKS: Final = (1 / 6, 1 / 4, 1 / 2)
"""Shares of the steps after which half of the labels that are left are given up."""


@dataclass(frozen=True)
class Dealt:
    """Labels in units, and those among them that are never given up.

    Args:
        units: The labels of each unit, in rising order.
        drawn: A random sample of all; every unit has as many of it as any other, give or take one.
    """

    units: tuple[tuple[int, ...], ...]
    drawn: frozenset[int]


def deal(labels: Sequence[int], *, together: int, sample: int, rng: Rng) -> Dealt:
    """Deal labels into units, and draw a sample of them.

    Labels that lie side by side are often alike. In units that are dealt at random they do not push one another out.

    Args:
        labels: In any order, each once; the same ones in another order are dealt alike.
        together: Labels of a unit, at most.
        sample: How many are drawn; all where there are no more.
        rng: Source of randomness.
    """
    ordered = sorted(labels)
    shuffled = [ordered[i] for i in torch.randperm(len(ordered), generator=rng.torch()).tolist()]
    count = math.ceil(len(shuffled) / together)
    return Dealt(tuple(tuple(sorted(shuffled[i::count])) for i in range(count)), frozenset(shuffled[:sample]))


def looks(steps: int) -> tuple[int, ...]:
    """After how many of so many steps labels are given up, in rising order.

    Example:
        >>> looks(60)
        (10, 15, 30)
    """
    return tuple(sorted({step for share in LOOKS if 0 < (step := round(share * steps)) < steps}))


def going_on(nearness: Float[Tensor, " k"], drawn: Sequence[bool]) -> Int[Tensor, " m"]:
    """Which labels go on, by their places in rising order: those that were drawn, and the better half of the others.

    Args:
        nearness: How near each label is to a small trigger that works.
        drawn: Which of them are never given up.

    Example:
        >>> going_on(torch.tensor([0.0, 3.0, 1.0, 2.0]), [True, False, False, False]).tolist()
        [0, 1, 3]

    Reference: Karnin, Koren and Somekh, Almost optimal exploration in multi-armed bandits, ICML 2013, algorithm 1,
    sequential halving. Deviations: it stops short of a single label, and looks are nearer together.
    """
    among = torch.tensor(drawn)
    others = (~among).nonzero().flatten()
    best = nearness.cpu()[others].argsort(descending=True, stable=True)[: math.ceil(len(others) / 2)]
    return torch.cat([among.nonzero().flatten(), others[best]]).sort().values
