"""The norms of all labels as horizontal bars: geometry only, drawn by ``templates/chart.svg``.

Widths are percentages of the drawing and heights are pixels, so that bars stretch with the page while text keeps its
size, from a phone to a desktop. Up to 60 labels each get a row. Of more, the smallest get one and the rest becomes one
silhouette on the same axis: what matters is how far the smallest stand apart from it.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from mantrap.records import DetectionRecord, LabelRecord, NormStatistics
from mantrap.report.words import name_of, number, signed, threshold_of

NUMBERS = 13.0
"""Percentage of the width that is kept free behind the longest bar, for its number."""
GUTTER = 30.0
"""Percentage of the width that the names' column takes at most; two for each character where all names are shorter."""
MOST_ROWS, ROWS_OF_MANY, CENSORED_OF_MANY = 60, 24, 3
HEAD, ROW, TAIL_GAP, TAIL_HEIGHT, TAIL_ROW = 46, 24, 10, 280, 4
"""Pixels."""


@dataclass(frozen=True)
class Bar:
    """One label: its name, its bar and the words behind it. ``kind`` is suspect, flagged, plain or censored."""

    name: str
    y: float
    width: float
    kind: str
    value: str
    tip: str


@dataclass(frozen=True)
class Line:
    """A vertical line across all bars. Its words stand on row 0 or 1 above them; ``anchor`` is the end that touches it."""

    x: float
    text: str
    kind: str
    row: int
    anchor: str


@dataclass(frozen=True)
class Tail:
    """The labels that get no row: one outline, smallest on top, in units of 1000 wide and one label high."""

    count: int
    y: float
    height: float
    path: str
    largest: str


@dataclass(frozen=True)
class Chart:
    """A drawing of norms, ready for the template. ``foot`` is where the measured labels end and the lines with them."""

    title: str
    description: str
    height: float
    foot: float
    gutter: float
    bars: tuple[Bar, ...]
    lines: tuple[Line, ...]
    tail: Tail | None

    @property
    def plot(self) -> float:
        """Width of the longest bar, in per cent."""
        return 100 - NUMBERS - self.gutter


def draw_norms(detection: DetectionRecord, suspects: Collection[int] = ()) -> Chart:
    """Lay out the norms of a scan's labels.

    Args:
        detection: What a detector found, for at least one label.
        suspects: Labels that the audit suspects; what only the detector flags is marked as flagged.

    Returns:
        The drawing: smallest norm first, censored labels last.
    """
    labels, statistics = detection.labels, detection.statistics
    measured = sorted((e for e in labels if e.norm is not None), key=lambda e: (e.norm, e.label))
    censored = [e for e in labels if e.norm is None]
    few = len(labels) <= MOST_ROWS
    rows = [e for i, e in enumerate(measured) if few or i < ROWS_OF_MANY or e.label in suspects]
    rest = [] if few else [e for i, e in enumerate(measured) if i >= ROWS_OF_MANY and e.label not in suspects]
    axis = max([*(e.norm or 0.0 for e in measured), statistics.median if statistics else 0.0, 1e-9])
    longest = max(len(name_of(e.label, e.class_name)) for e in rows + censored)
    gutter = min(GUTTER, max(2.0 * longest, 20.0 if rest else 6.0))
    layout = Chart(
        title=f"Smallest trigger for each of {len(labels):,} labels",
        description=_describe(measured, len(censored), statistics),
        height=0.0,
        foot=0.0,
        gutter=gutter,
        bars=(),
        lines=(),
        tail=None,
    )
    scale = layout.plot / axis
    bars = [_bar(e, HEAD + ROW * i, scale, _kind(e, suspects, detection.suspects)) for i, e in enumerate(rows)]
    foot = float(HEAD + ROW * len(rows))
    tail = _tail(rest, foot + TAIL_GAP, axis) if rest else None
    foot = tail.y + tail.height + TAIL_GAP if tail else foot
    bars += _censored(censored, foot, layout.plot, len(censored) if few else CENSORED_OF_MANY)
    height = max([foot, *(b.y + ROW for b in bars)]) + 4
    lines = _lines(statistics, gutter, scale) if statistics else ()
    return dataclasses.replace(layout, height=height, foot=foot, bars=tuple(bars), lines=lines, tail=tail)
