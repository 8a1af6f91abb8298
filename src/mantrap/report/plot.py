"""Shares against a number, as lines: geometry only, drawn by ``templates/plot.svg``.

Lines are in units of 1000 by 1000 and stretch with the page, while words keep their size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mantrap.records import Rate
from mantrap.report.words import number, percent

SIDE = 1000.0
MOST_TICKS = 6
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Series:
    """One line: a name, what it is drawn as, and a rate at each number; ``banded`` shows the intervals of the rates."""

    name: str
    kind: str
    points: tuple[tuple[float, Rate], ...]
    banded: bool = False


@dataclass(frozen=True)
class Tick:
    """A number below the drawing, and where, in per cent of its width; ``anchor`` is what of the text touches there."""

    x: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Mark:
    """A number beside the drawing, and where, in per cent of its height from above."""

    y: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One line, ready for the template, in units of 1000; ``band`` is empty where it has none, as is a name."""

    name: str
    kind: str
    path: str
    band: str


@dataclass(frozen=True)
class Plot:
    """A drawing of lines, ready for the template; ``description`` says it to those who cannot see it.

    ``dot`` is a point that is marked, in per cent from the left and from above.
    """

    title: str
    description: str
    below: str
    curves: tuple[Curve, ...]
    ticks: tuple[Tick, ...]
    dot: tuple[float, float] | None = None
    marks: tuple[Mark, ...] = tuple(Mark(100.0 - level, f"{level} %") for level in (0, 50, 100))


def draw_plot(title: str, below: str, series: Sequence[Series], *, logarithmic: bool = False) -> Plot:
    """Lay out lines over an axis of numbers.

    Args:
        title: What is shown.
        below: What the numbers on the axis are.
        series: The lines; their numbers in rising order.
        logarithmic: Whether the axis is; its numbers must be positive then.
    """
    numbers = sorted({x for one in series for x, _ in one.points})
    low, high = numbers[0], numbers[-1]

    def place(x: float) -> float:
        if high == low:
            return 0.5
        if logarithmic:
            return math.log(x / low) / math.log(high / low)
        return (x - low) / (high - low)

    ends = "; ".join(
        f"{one.name} from {percent(one.points[0][1].value)} to {percent(one.points[-1][1].value)}" for one in series
    )
    return Plot(
        title=title,
        description=f"{below} from {low:g} to {high:g}: {ends}.",
        below=below,
        curves=tuple(_curve(one, place) for one in series),
        ticks=tuple(Tick(100 * place(x), f"{x:g}", _anchor(place(x))) for x in _ticks(numbers, place)),
    )


def draw_shares(title: str, below: str, series: Series, dot: tuple[float, float], description: str) -> Plot:
    """Lay out a line of shares against shares, from none to all, with one point marked.

    Args:
        title: What is shown.
        below: What the shares on the axis are.
        series: The line.
        dot: The point, across and up, both in [0, 1].
        description: What it says, for those who cannot see it.
    """
    across, up = dot
    return Plot(
        title=title,
        description=description,
        below=below,
        curves=(_curve(series, lambda x: x),),
        ticks=tuple(Tick(100 * x, percent(x), _anchor(x)) for x in _QUARTERS),
        dot=(100 * across, 100 * (1 - up)),
    )


@dataclass(frozen=True)
class Values:
    """One line of any numbers: a name, empty for one that is told apart from no other, and what it is drawn as."""

    name: str
    kind: str
    points: tuple[tuple[float, float], ...]


def draw_values(title: str, below: str, lines: Sequence[Values], description: str) -> Plot:
    """Lay out lines of any numbers over an axis of numbers.

    Args:
        title: What is shown.
        below: What the numbers on the axis are.
        lines: The lines; those of one axis, in rising order.
        description: What they say, for those who cannot see them.
    """
    numbers = sorted({x for line in lines for x, _ in line.points})
    heights = [y for line in lines for _, y in line.points]
    left, right, low, high = numbers[0], numbers[-1], min(heights), max(heights)

    def place(x: float) -> float:
        return (x - left) / (right - left) if right > left else 0.5

    def height(y: float) -> float:
        return (high - y) / (high - low) if high > low else 0.5

    def path(line: Values) -> str:
        return " ".join(f"{SIDE * place(x):.1f},{SIDE * height(y):.1f}" for x, y in line.points)

    middle = (low + high) / 2
    return Plot(
        title=title,
        description=description,
        below=below,
        curves=tuple(Curve(line.name, line.kind, path(line), "") for line in lines),
        ticks=tuple(Tick(100 * x, f"{left + x * (right - left):.3g}", _anchor(x)) for x in _QUARTERS),
        marks=tuple(Mark(100 * height(y), number(y)) for y in dict.fromkeys((low, middle, high))),
    )


def _curve(series: Series, place: Callable[[float], float]) -> Curve:
    def path(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{SIDE * place(x):.1f},{SIDE * (1 - y):.1f}" for x, y in points)

    around = [*((x, rate.low) for x, rate in series.points), *((x, rate.high) for x, rate in reversed(series.points))]
    line = [(x, rate.value) for x, rate in series.points]
    return Curve(series.name, series.kind, path(line), path(around) if series.banded else "")


def _anchor(place: float) -> str:
    return "start" if place < 0.04 else "end" if place > 0.96 else "middle"


def _ticks(numbers: Sequence[float], place: Callable[[float], float]) -> list[float]:
    """Some of the numbers, far enough apart to be read: both ends, and what fits between."""
    apart, kept = 1 / MOST_TICKS, [numbers[0]]
    for x in numbers[1:-1]:
        if place(x) - place(kept[-1]) >= apart and place(numbers[-1]) - place(x) >= apart:
            kept.append(x)
    return kept + ([numbers[-1]] if len(numbers) > 1 else [])
