"""The tables of docs/parity.md, from what the cells have left."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mantrap.records import AuditRecord, Rate

if TYPE_CHECKING:
    from parity import Cell

_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
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


def write_tables(cells: Sequence["Cell"], runs: Path, page: Path) -> None:
    """Put a row for every cell between the marks of the page; unfinished ones are shown as such."""
    rows = [_row(cell, runs / cell.name) for cell in cells]
    before, _, rest = page.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    page.write_text(
        f"{before}{_BEGIN}\n\n" + "\n".join((*_HEAD, *rows, "", _norms(cells, runs))) + f"\n\n{_END}{after}"
    )


def _row(cell: "Cell", folder: Path) -> str:
    accuracy, success = _rate(folder / "accuracy.json"), _rate(folder / "success.json")
    if cell.target is None:
        success = "(clean)"
    elif cell.recipe is None:
        success = f"(planted by others, target {cell.target})"
    start = f"| {cell.name} | {accuracy} | {success} |"
    record = _audit(folder)
    if record is None:
        stage = "not audited here" if not cell.audited else "not finished"
        return f"{start} {stage} | | | | | | | | | |"
    detection, statistics = record.detections[0], record.detections[0].statistics
    if statistics is None:
        return f"{start} no label has a norm | | | | | | {record.verdict} | | | |"
    smallest = next(entry for entry in record.labels if entry.label == statistics.smallest_label)
    index = "-" if statistics.smallest_index is None else f"{statistics.smallest_index:.2f}"
    steps = [entry.steps for entry in detection.labels]
    images = sum(c.backward for c in record.cost)
    seconds = sum(s.cpu_seconds for s in record.volatile.stages)
    flags = ", ".join(map(str, statistics.paper_flags)) or "none"
    reached = "-"
    if smallest.success is not None and smallest.success_interval is not None:
        reached = _interval(smallest.success, *smallest.success_interval)
    return (
        f"{start} {smallest.label}, {statistics.smallest_norm:.2f} | {statistics.median:.1f} | {index} | "
        f"{statistics.log_ratio:.2f} | {reached} | {flags} | {record.verdict} | {min(steps)} to {max(steps)} | "
        f"{images:,} | {seconds:,.0f} |"
    )


def _norms(cells: Sequence["Cell"], runs: Path) -> str:
    """Every norm and index of every audit, so that nothing is hidden behind the smallest one."""
    blocks = ["Norm (signed anomaly index) of every label, in the order of the labels; a censored label has none:", ""]
    for cell in cells:
        record = _audit(runs / cell.name)
        if record is not None:
            shown = [
                "censored" if e.norm is None else f"{e.norm:.1f} ({0.0 if e.index is None else e.index:+.1f})"
                for e in record.labels
            ]
            blocks.append(f"- **{cell.name}**: {', '.join(shown)}")
    return "\n".join(blocks)


def _audit(folder: Path) -> AuditRecord | None:
    path = folder / "audit" / "audit.json"
    return AuditRecord.from_json(path.read_text()) if path.exists() else None


def _rate(path: Path) -> str:
    return _short(Rate.from_json(path.read_text())) if path.exists() else "not finished"


def _short(rate: Rate) -> str:
    return _interval(rate.value, rate.low, rate.high)


def _interval(value: float, low: float, high: float) -> str:
    return f"{100 * value:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
