"""What the tables of a grid show of a cell, and of the same cell over all seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from mantrap.ops.intervals import wilson
from mantrap.records import DefenceKind, GridArea, GridCell, GridModel, Verdict
from mantrap.records.grid import CLEAN
from mantrap.records.grid_figures import figures_of_cell
from mantrap.report.words import interval, percent

NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table: a figure, and below it its interval or its range."""

    text: str
    ends: str = ""


@dataclass(frozen=True)
class Seen:
    """A cell that is done, its model, and how well its detector parts such models from clean ones."""

    cell: GridCell
    model: GridModel
    area: GridArea | None


@dataclass(frozen=True)
class Column:
    """A column: its title, what it shows of one cell, and what of all seeds together."""

    title: str
    each: Callable[[Seen], Entry]
    together: Callable[[Sequence[Seen]], Entry]


EMPTY = Entry(NOTHING)


def points(value: float) -> str:
    """A difference of two shares in percentage points: ``"-0.4"``, with a true minus."""
    return f"{100 * value:+z.1f}".replace("-", "\N{MINUS SIGN}")


def share(title: str, name: str) -> Column:
    """A column of shares: each with its interval, together their mean and range."""
    return _numbers(title, name, percent, interval)


def area(title: str, name: str) -> Column:
    """A column of areas under the ROC curve."""
    return _numbers(title, name, "{:.3f}".format, _of_areas)


def change(title: str, name: str) -> Column:
    """A column of differences of two shares, in points."""
    return _numbers(title, name, points, lambda ends: f"{points(ends[0])} to {points(ends[1])}")


def _of_areas(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def _numbers(title: str, name: str, say: Callable[[float], str], ends: Callable[[tuple[float, float]], str]) -> Column:
    """A column of one figure: each with its interval, together their mean and range."""

    def each(seen: Seen) -> Entry:
        found = figures_of_cell(seen.cell)[name]
        return EMPTY if found is None else Entry(say(found.value), ends((found.low, found.high)))

    def together(some: Sequence[Seen]) -> Entry:
        values = [found.value for seen in some if (found := figures_of_cell(seen.cell)[name]) is not None]
        return Entry(say(mean(values)), ends((min(values), max(values)))) if values else EMPTY

    return Column(title, each, together)


def _verdict(seen: Seen) -> Entry:
    assert seen.cell.detected is not None
    return Entry(seen.cell.detected.verdict.value.lower().replace("_", " "))


def suspicious(some: Sequence[Seen]) -> Entry:
    """How many models are called suspicious, with the interval of the share."""
    called = sum(seen.cell.detected is not None and seen.cell.detected.verdict is Verdict.SUSPICIOUS for seen in some)
    rate = wilson(called, len(some))
    return Entry(f"{called} of {len(some)} suspicious", f"{interval((rate.low, rate.high))} %")


def _p_value(seen: Seen) -> Entry:
    assert seen.cell.detected is not None
    return Entry(small(seen.cell.detected.p_value))


def _p_values(some: Sequence[Seen]) -> Entry:
    values = sorted(s.cell.detected.p_value for s in some if s.cell.detected and s.cell.detected.p_value is not None)
    return Entry(f"{small(values[0])} to {small(values[-1])}") if values else EMPTY


def small(p_value: float | None) -> str:
    """A p-value with two digits that matter."""
    return NOTHING if p_value is None else f"{p_value:.2g}"


def _first(seen: Seen) -> Entry:
    detected, targets = seen.cell.detected, seen.model.targets
    if detected is None or detected.first is None:
        return EMPTY
    told = f"label {detected.first}"
    return Entry(f"{told}, the target" if detected.first in targets else told)


def _firsts(some: Sequence[Seen]) -> Entry:
    return _told(some, lambda seen: seen.cell.detected is not None and seen.cell.detected.first in seen.model.targets)


def _named(seen: Seen) -> Entry:
    return Entry("yes" if named(seen) else "no") if seen.model.targets else EMPTY


def named(seen: Seen) -> bool:
    """Whether a trigger is shown for a label that a backdoor leads to."""
    return seen.cell.detected is not None and bool(set(seen.cell.detected.suspects) & set(seen.model.targets))


def _told(some: Sequence[Seen], holds: Callable[[Seen], bool]) -> Entry:
    """Of how many models with a target something holds."""
    aimed = [seen for seen in some if seen.model.targets]
    return Entry(f"{sum(map(holds, aimed))} of {len(aimed)}") if aimed else EMPTY


def _parted(some: Sequence[Seen]) -> Entry:
    found = some[0].area.area if some and some[0].area is not None else None
    return EMPTY if found is None else Entry(f"{found.value:.3f}", _of_areas((found.low, found.high)))


COLUMNS: dict[DefenceKind, tuple[Column, ...]] = {
    DefenceKind.DETECTOR: (
        Column("Verdict", _verdict, suspicious),
        Column("p-value", _p_value, _p_values),
        Column("Stands out most", _first, _firsts),
        Column("Target named", _named, lambda some: _told(some, named)),
        Column("AUROC", lambda _: EMPTY, _parted),
    ),
    DefenceKind.GUARD: (
        share("False positives", "false_positives"),
        share("False negatives", "false_negatives"),
        area("AUROC", "area"),
    ),
    DefenceKind.REPAIR: (
        share("Success before", "success_before"),
        share("Success after", "success_after"),
        share("Success, control", "control_success"),
        share("Accuracy before", "accuracy_before"),
        share("Accuracy after", "accuracy_after"),
        change("Accuracy change", "accuracy_change"),
        change("Change, control", "control_accuracy_change"),
    ),
    DefenceKind.SCREEN: (
        share("Poison caught", "caught"),
        share("Clean flagged", "spoilt"),
        area("AUROC", "area"),
    ),
}
"""What is shown of each kind of defence."""


def brief(kind: DefenceKind, attack: str, some: Sequence[Seen]) -> tuple[str, ...]:
    """What a defence comes to against an attack, over all seeds, in a few words."""
    columns = COLUMNS[kind]
    if kind is DefenceKind.DETECTOR:
        return (suspicious(some).text,)
    if kind is DefenceKind.REPAIR:
        before, after, lost = (columns[k].together(some).text for k in (0, 1, 5))
        return f"{before} to {after}", f"accuracy {lost}"
    if attack == CLEAN:
        return (f"flags {columns[0 if kind is DefenceKind.GUARD else 1].together(some).text}",)
    if kind is DefenceKind.GUARD:
        return (f"misses {columns[1].together(some).text}",)
    return (f"catches {columns[0].together(some).text}",)
