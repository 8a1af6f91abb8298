"""The norms of all labels as horizontal bars: geometry only, drawn by ``templates/chart.svg``.

Widths are percentages of the drawing and heights are pixels, so that bars stretch with the page while text keeps its
size, from a phone to a desktop. Up to 60 labels each get a row. Of more, the smallest get one and the rest becomes one
silhouette on the same axis: what matters is how far the smallest stand apart from it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from mantrap.records import DetectionRecord, LabelRecord, NormStatistics
from mantrap.report.words import name_of, number, ratio_of, signed, threshold_of

NUMBERS = 13.0
"""Percentage of the width that the column of numbers takes, behind the longest bar."""
GUTTER = 30.0
"""Percentage of the width that the names' column takes at most; two for each character where all names are shorter."""
MOST_ROWS, ROWS_OF_MANY, CENSORED_OF_MANY = 60, 24, 3
HEAD, ROW, TAIL_GAP, TAIL_HEIGHT, TAIL_ROW = 46, 24, 10, 280, 4
"""Pixels."""


@dataclass(frozen=True)
class Bar:
    """One label. ``kind`` is suspect, flagged, plain or censored; ``word`` says it behind the bar, not colour alone."""

    name: str
    y: float
    width: float
    kind: str
    value: str
    word: str
    tip: str


@dataclass(frozen=True)
class Line:
    """A vertical line across all bars, with words on row 0 or 1 above them; ``anchor`` is their end that touches it."""

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
    """A drawing of norms, ready for the template.

    ``gutter`` and ``plot`` are the widths of the names' column and of the longest bar, in per cent. ``foot`` is where
    the measured labels end, and the lines with them.
    """

    title: str
    description: str
    height: float
    foot: float
    gutter: float
    plot: float
    bars: tuple[Bar, ...]
    lines: tuple[Line, ...]
    tail: Tail | None


def draw_norms(detection: DetectionRecord, suspects: Collection[int] = ()) -> Chart:
    """Lay out the norms of a scan's labels.

    Args:
        detection: What a detector found, for at least one label.
        suspects: Labels that the audit suspects; what only the detector suspects is marked as flagged.

    Returns:
        The drawing: smallest norm first, censored labels last, and none that were given up.
    """
    labels, statistics = [e for e in detection.labels if not e.given_up], detection.statistics
    measured = sorted((e for e in labels if e.norm is not None), key=lambda e: (e.norm, e.label))
    censored = [e for e in labels if e.norm is None]
    few = len(labels) <= MOST_ROWS
    rows = [e for i, e in enumerate(measured) if few or i < ROWS_OF_MANY or e.label in suspects]
    rest = [] if few else [e for i, e in enumerate(measured) if i >= ROWS_OF_MANY and e.label not in suspects]
    axis = max([*(e.norm or 0.0 for e in measured), statistics.median if statistics else 0.0, 1e-9])
    gutter = _gutter(rows + censored, least=20.0 if rest else 6.0)
    plot = 100 - NUMBERS - gutter
    bars = [_bar(e, HEAD + ROW * i, plot / axis, _kind(e, suspects, detection.suspects)) for i, e in enumerate(rows)]
    foot = float(HEAD + ROW * len(rows))
    tail = _tail(rest, foot + TAIL_GAP, axis) if rest else None
    foot = tail.y + tail.height + TAIL_GAP if tail else foot
    bars += _censored(censored, foot, plot, len(censored) if few else CENSORED_OF_MANY)
    return Chart(
        title=f"Smallest trigger for each of {len(labels):,} labels",
        description=_describe(measured, len(censored), len(detection.labels) - len(labels), statistics),
        height=max([foot, *(b.y + ROW for b in bars)]) + 4,
        foot=foot,
        gutter=gutter,
        plot=plot,
        bars=tuple(bars),
        lines=_lines(statistics, gutter, plot / axis) if statistics else (),
        tail=tail,
    )


def _gutter(entries: list[LabelRecord], *, least: float) -> float:
    longest = max(len(name_of(e.label, e.class_name)) for e in entries)
    return min(GUTTER, max(2.0 * longest, least))


def _kind(entry: LabelRecord, suspects: Collection[int], flagged: Collection[int]) -> str:
    return "suspect" if entry.label in suspects else "flagged" if entry.label in flagged else "plain"


def _bar(entry: LabelRecord, y: float, scale: float, kind: str) -> Bar:
    norm = entry.norm or 0.0
    index = "" if entry.index is None else f", anomaly index {signed(entry.index)}"
    name = name_of(entry.label, entry.class_name)
    word = "" if kind == "plain" else kind
    return Bar(name, y, norm * scale, kind, number(norm), word, f"Label {name}: norm {number(norm)}{index}")


def _censored(entries: list[LabelRecord], y: float, width: float, shown: int) -> list[Bar]:
    names = [name_of(e.label, e.class_name) for e in entries[:shown]]
    tips = [f"Label {n}: censored after {e.steps:,} steps" for n, e in zip(names, entries, strict=False)]
    if len(entries) > shown:
        names.append(f"{len(entries) - shown:,} more")
        tips.append(f"{names[-1]} censored labels")
    pairs = enumerate(zip(names, tips, strict=True))
    return [Bar(n, y + ROW * i, width, "censored", "", "censored: nothing worked", t) for i, (n, t) in pairs]


def _tail(entries: list[LabelRecord], y: float, axis: float) -> Tail:
    steps = "".join(f"H{1000 * (e.norm or 0.0) / axis:.0f}V{i}" for i, e in enumerate(entries, start=1))
    height = min(TAIL_HEIGHT, TAIL_ROW * len(entries))
    return Tail(len(entries), y, height, f"M0 0{steps}H0Z", number(entries[-1].norm or 0.0))


def _lines(statistics: NormStatistics, gutter: float, scale: float) -> tuple[Line, ...]:
    median, threshold = statistics.median, threshold_of(statistics)
    x = gutter + median * scale
    lines = [Line(x, f"median {number(median)}", "median", 0, "start" if x < 60 else "end")]
    if threshold is not None:
        # The threshold lies left of the median: words to its left cross no line, if there is room for them.
        x = gutter + threshold * scale
        words = f"paper's threshold {number(threshold)}"
        lines.append(Line(x, words, "threshold", 1, "start" if x < 42 else "end"))
    return tuple(lines)


def _describe(measured: list[LabelRecord], censored: int, given_up: int, statistics: NormStatistics | None) -> str:
    parts = ["Horizontal bars, smallest first."]
    if measured:
        name = name_of(measured[0].label, measured[0].class_name)
        parts.append(f"The smallest is label {name} with {number(measured[0].norm or 0.0)}.")
    if statistics:
        parts.append(f"The median is {number(statistics.median)}, {ratio_of(statistics)} times the smallest.")
    if censored:
        parts.append(f"{censored:,} of the labels are censored: no trigger met the success threshold.")
    if given_up:
        parts.append(f"{given_up:,} more were given up early, for others looked likelier, and are not drawn.")
    parts.append("The table below holds the same numbers.")
    return " ".join(parts)
