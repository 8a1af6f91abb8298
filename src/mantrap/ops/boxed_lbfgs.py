"""The smallest values of many smooth functions at once, each of numbers that stay in a range: L-BFGS in a box."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Points: TypeAlias = Float[Tensor, "m d"]
Values: TypeAlias = Float[Tensor, " m"]
Rows: TypeAlias = Int64[Tensor, " m"]
Smooth: TypeAlias = Callable[[Points, Rows], tuple[Values, Points]]
"""The values and slopes of some of the functions, by number, each at a point of its own."""

_DECREASE = 1e-4
"""Share of what the slope promises that a step must bring."""
_SHORTER, _SHORTEST = 0.5, 0.1
"""How much of a step that brought too little is tried next: at most, and at least."""
_BENT = 1e-8
"""Least cosine of a step and of the change of the slope along it that is remembered."""


@dataclass(frozen=True, eq=False)
class Minima:
    """Where the search ended.

    Args:
        points: [n, d], in the box.
        values: The functions' values there, [n].
        settled: Which of them came to rest within the evaluations, [n].
        evaluations: How often each function was asked, [n].
    """

    points: Points
    values: Values
    settled: Bool[Tensor, " m"]
    evaluations: Int64[Tensor, " m"]


@dataclass(frozen=True, kw_only=True)
class Boxed:
    """How :func:`minimise` searches.

    Args:
        low: The least that any number may be.
        high: The most.
        evaluations: How often each function is asked, at most.
        memory: How many steps the curvature is read from.
        flat: A function is at rest where no number can go farther than this down its slope.
        gain: Or where a step brought less than this share of its value.
    """

    low: float = 0.0
    high: float = 1.0
    evaluations: int = 100
    memory: int = 10
    flat: float = 1e-5
    gain: float = 1e-7


def minimise(functions: Smooth, start: Points, options: Boxed) -> Minima:
    """A local minimum of each function within the box, found side by side.

    A step goes along the quasi-Newton direction in the numbers that are free, and down the slope in those that lie at
    an end of their range and would leave it; it bends where it meets the box, and is shortened until it brings what the
    slope promises. Every evaluation takes each function to its next point or to a shorter step, whichever it needs, so
    none waits for another.

    Args:
        functions: What to make small; asked about the functions that are not at rest yet.
        start: Where each begins, [n, d].
        options: The box, and how long to search.

    Reference: Bertsekas, Projected Newton methods for optimization problems with simple constraints, SIAM Journal on
    Control and Optimization 1982 (the free numbers, and the rule for a step that bends); Nocedal and Wright, Numerical
    Optimization, 2006, algorithm 7.4 (the two loops of L-BFGS).

    Deviations: no generalised Cauchy point as L-BFGS-B has it (Byrd et al., 1995), which follows a path of its own for
    each function; the curvature is read from the free part of the remembered steps.
    """
    search = _Search(functions, start, options)
    while len(search.live):
        search.ask()
    return Minima(search.points, search.values, search.settled, search.asked)


class _Search:
    """Where every function is, and what it remembers; one row each."""

    def __init__(self, functions: Smooth, start: Points, options: Boxed) -> None:
        self.functions, self.options = functions, options
        count, device = len(start), start.device
        self.points = start.clamp(options.low, options.high)
        self.live = torch.arange(count, device=device)
        self.values, self.slopes = functions(self.points, self.live)
        self.asked = torch.ones(count, dtype=torch.int64, device=device)
        self.settled = torch.zeros(count, dtype=torch.bool, device=device)
        shape = count, options.memory, start.shape[1]
        self._steps, self._bends = start.new_zeros(shape), start.new_zeros(shape)
        self._kept = torch.zeros(count, dtype=torch.int64, device=device)
        self._directions, self._shares = torch.empty_like(start), start.new_ones(count)
        self._rest(self.live, torch.full_like(self.values, torch.inf))
        self._turn(self.live)
        self._leave()

    def ask(self) -> None:
        """One evaluation of every function that is not at rest."""
        rows, low, high = self.live, self.options.low, self.options.high
        here, value, slope = self.points[rows], self.values[rows], self.slopes[rows]
        tried = (here + self._shares[rows, None] * self._directions[rows]).clamp(low, high)
        found, steep = self.functions(tried, rows)
        self.asked[rows] += 1
        promised = ((tried - here) * slope).sum(1)
        good = found <= value + _DECREASE * promised
        self._shorten(rows[~good], (found - value - promised)[~good], promised[~good])
        moved = rows[good]
        self._remember(moved, (tried - here)[good], (steep - slope)[good])
        self.points[moved], self.values[moved], self.slopes[moved] = tried[good], found[good], steep[good]
        self._rest(moved, (value - found)[good])
        self._turn(moved)
        self._leave()

    def _leave(self) -> None:
        """Those that are at rest, or have been asked often enough, are asked no more."""
        rows = self.live
        self.live = rows[~self.settled[rows] & (self.asked[rows] < self.options.evaluations)]

    def _shorten(self, rows: Rows, excess: Values, promised: Values) -> None:
        """Try less of the same step: as far as the parabola through what is known has its lowest point."""
        share = self._shares[rows]
        lowest = torch.where(excess > 0, -promised / (2 * excess), _SHORTEST).nan_to_num(_SHORTEST)
        self._shares[rows] = share * lowest.clamp(_SHORTEST, _SHORTER)
        lost = share < 1e-6
        begun = rows[lost & (self._kept[rows] > 0)]
        self.settled[rows[lost & (self._kept[rows] == 0)]] = True
        self._kept[begun] = 0  # what is remembered misleads: go on down the slope
        self._turn(begun)

    def _remember(self, rows: Rows, steps: Points, bends: Points) -> None:
        """Keep a step and how the slope changed along it, where the function bends upwards."""
        upwards = (steps * bends).sum(1) > _BENT * steps.norm(dim=1) * bends.norm(dim=1)
        rows = rows[upwards]
        place = self._kept[rows] % self.options.memory
        self._steps[rows, place], self._bends[rows, place] = steps[upwards], bends[upwards]
        self._kept[rows] += 1

    def _rest(self, rows: Rows, gained: Values) -> None:
        """Which functions are at rest."""
        here, slope = self.points[rows], self.slopes[rows]
        away = ((here - slope).clamp(self.options.low, self.options.high) - here).abs().amax(1)
        little = gained <= self.options.gain * self.values[rows].abs().clamp_min(torch.finfo(slope.dtype).tiny)
        self.settled[rows] = (away <= self.options.flat) | little

    def _turn(self, rows: Rows) -> None:
        """The direction of the next step."""
        here, slope = self.points[rows], self.slopes[rows]
        away = ((here - slope).clamp(self.options.low, self.options.high) - here).abs().amax(1, keepdim=True)
        near = away.clamp_max(1e-3 * (self.options.high - self.options.low))
        free = ~(((here <= self.options.low + near) & (slope > 0)) | ((here >= self.options.high - near) & (slope < 0)))
        direction, scale = self._newton(rows, slope * free, free)
        direction = torch.where(free, direction, -scale * slope)
        self._directions[rows], self._shares[rows] = direction, 1.0

    def _newton(self, rows: Rows, slope: Points, free: Bool[Tensor, "m d"]) -> tuple[Points, Float[Tensor, "m 1"]]:
        """Less the inverse curvature of the free numbers times their slope, and the curvature's scale."""
        scale = 1 / slope.norm(dim=1, keepdim=True).clamp_min(1.0)
        if not len(rows):
            return -slope, scale
        most = int(self._kept[rows].clamp_max(self.options.memory).max())
        pairs = []
        ahead, scaled = slope.clone(), torch.zeros_like(scale, dtype=torch.bool)
        for back in range(1, most + 1):
            place = (self._kept[rows] - back) % self.options.memory
            known = (self._kept[rows] >= back)[:, None]
            step, bend = self._steps[rows, place] * free, self._bends[rows, place] * free
            bent, square = (step * bend).sum(1, keepdim=True), bend.square().sum(1, keepdim=True)
            fits = known & (bent > _BENT * square.sqrt() * step.norm(dim=1, keepdim=True))
            rate = torch.where(fits, 1 / bent, 0.0)
            scale = torch.where(fits & ~scaled, bent / square, scale)
            scaled |= fits
            share = rate * (step * ahead).sum(1, keepdim=True)
            ahead -= share * bend
            pairs.append((step, bend, rate, share))
        ahead *= scale
        for step, bend, rate, share in reversed(pairs):
            ahead += step * (share - rate * (bend * ahead).sum(1, keepdim=True))
        return -ahead, scale
