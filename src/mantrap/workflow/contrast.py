"""What two runs have in common and in what they differ. Records alone are looked at, so nothing here reaches torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from mantrap.ops.intervals import unpaired_difference
from mantrap.records import Area, ChangeRecord, Rate, SameRecord

Value: TypeAlias = str | float | Rate | Area | None
"""What is compared: words, a number, or a share; ``None`` where a run has nothing there."""


@dataclass(frozen=True)
class Place:
    """Where a finding stands: what it is about, and what it says of that."""

    about: str
    what: str


Findings: TypeAlias = dict[Place, Value]


def contrasted(first: Findings, second: Findings) -> Iterator[ChangeRecord]:
    """Every finding that differs, in the order of the first run."""
    for place in dict.fromkeys((*first, *second)):
        before, after = first.get(place), second.get(place)
        if before != after:
            yield _change(place, before, after)


def _change(place: Place, before: Value, after: Value) -> ChangeRecord:
    """One finding that differs; shares with the interval of their difference."""
    difference = low = high = None
    if isinstance(before, Rate) and isinstance(after, Rate):
        apart = unpaired_difference(after, before)
        difference, low, high = apart.value, apart.low, apart.high
    elif isinstance(before, Area) and isinstance(after, Area):
        difference = after.value - before.value
    return ChangeRecord(
        about=place.about,
        what=place.what,
        first=said(before),
        second=said(after),
        difference=difference,
        low=low,
        high=high,
    )


def said(value: Value) -> str:
    """A value as it is read; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, Rate):
        return f"{100 * value.value:.2f} % ({100 * value.low:.2f} to {100 * value.high:.2f})"
    if isinstance(value, Area):
        return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"
    return value if isinstance(value, str) else f"{value:.4g}"


def settings(first: Mapping[str, object], second: Mapping[str, object]) -> tuple[SameRecord, ...]:
    """What two runs began with, by what it is, and whether it is the same."""
    return tuple(
        SameRecord(
            what=what,
            same=first.get(what) == second.get(what),
            first=str(first.get(what, "none")),
            second=str(second.get(what, "none")),
        )
        for what in dict.fromkeys((*first, *second))
    )
