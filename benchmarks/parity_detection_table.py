"""What a cell on detection leaves behind, and the tables of docs/parity.md made of it."""

from collections.abc import Iterable, Mapping

from mantrap.records import LabelRecord, NormStatistics, Rate, Record, Verdict
from mantrap.records.base import SCHEMA_VERSION

_COLUMNS = (
    "cell",
    "clean accuracy",
    "attack success",
    "smallest: label, L1",
    "median L1",
    "index",
    "log ratio",
    "success",
    "paper flags",
    "verdict",
    "steps",
    "images",
    "CPU s",
)
_HEAD = (f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS))


class Scanned(Record):
    """The audit of one cell, without its pictures: those are of data sets that stay where they are."""

    verdict: Verdict
    statistics: NormStatistics | None
    labels: tuple[LabelRecord, ...]
    images: int
    cpu_seconds: float


class CellResult(Record):
    """One finished cell. ``attack`` is ``None`` where nothing was planted or the true trigger is not ours."""

    schema_version: str = SCHEMA_VERSION
    kind: str = "parity_cell"
    name: str
    accuracy: Rate
    attack: Rate | None
    planted: str
    scanned: Scanned | None
    threads: int
    versions: dict[str, str]


def table(results: Mapping[str, CellResult | None]) -> str:
    """A row for every cell, unfinished ones shown as such; below, every norm."""
    rows = [f"| {name} | not finished |" + " |" * 11 if r is None else _row(r) for name, r in results.items()]
    return "\n".join((*_HEAD, *rows, "", *_norms(results.values())))


def _row(result: CellResult) -> str:
    attack = result.planted if result.attack is None else _rate(result.attack)
    start = f"| {result.name} | {_rate(result.accuracy)} | {attack} |"
    scanned = result.scanned
    if scanned is None:
        return f"{start} not audited |" + " |" * 9
    statistics = scanned.statistics
    if statistics is None:
        return f"{start} no label has a norm | | | | | | {scanned.verdict} | | | |"
    smallest = next(entry for entry in scanned.labels if entry.label == statistics.smallest_label)
    index = "-" if statistics.smallest_index is None else f"{statistics.smallest_index:.2f}"
    steps = [entry.steps for entry in scanned.labels]
    flags = ", ".join(map(str, statistics.paper_flags)) or "none"
    reached = "-"
    if smallest.success is not None and smallest.success_interval is not None:
        reached = _interval(smallest.success, *smallest.success_interval)
    return (
        f"{start} {smallest.label}, {statistics.smallest_norm:.2f} | {statistics.median:.1f} | {index} | "
        f"{statistics.log_ratio:.2f} | {reached} | {flags} | {scanned.verdict} | {min(steps)} to {max(steps)} | "
        f"{scanned.images:,} | {scanned.cpu_seconds:,.0f} |"
    )


def _norms(results: Iterable[CellResult | None]) -> list[str]:
    """Every norm and index of every audit, so that nothing is hidden behind the smallest one."""
    lines = ["Norm (signed anomaly index) of every label, in the order of the labels; a censored label has none:", ""]
    for result in results:
        if result is not None and result.scanned is not None:
            shown = [
                "censored" if e.norm is None else f"{e.norm:.1f} ({0.0 if e.index is None else e.index:+.1f})"
                for e in result.scanned.labels
            ]
            lines.append(f"- **{result.name}**: {', '.join(shown)}")
    return lines


def _rate(rate: Rate) -> str:
    return _interval(rate.value, rate.low, rate.high)


def _interval(value: float, low: float, high: float) -> str:
    return f"{100 * value:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
