"""What a cell on transfer leaves behind, and the table of docs/parity.md made of it."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from statistics import mean

from mantrap.records import Rate, Record
from mantrap.records.base import SCHEMA_VERSION

_COLUMNS: dict[str, Callable[["TransferCell"], Rate | None]] = {
    "first task": lambda cell: cell.first_accuracy,
    "success there": lambda cell: cell.first_success,
    "second task": lambda cell: cell.accuracy,
    "with the trigger": lambda cell: cell.triggered_accuracy,
    "success": lambda cell: cell.success,
}


class TransferCell(Record):
    """One network that was fine-tuned to another task.

    ``first_accuracy`` and ``first_success`` are those of the network that is handed on, on its own task; a success is
    ``None`` where nothing was planted. ``triggered_accuracy`` is the share of triggered images of the second task that
    keep their class.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "transfer_cell"
    name: str
    first_accuracy: Rate
    first_success: Rate | None
    accuracy: Rate
    triggered_accuracy: Rate
    success: Rate | None
    cpu_seconds: float


def table(results: Mapping[str, TransferCell | None]) -> str:
    """A row for each way of doing it, the mean of its seeds; unfinished ones are shown as such."""
    titles = ("cell", *_COLUMNS, "CPU s")
    rows = [_row(key, [results[name] for name in names]) for key, names in groupby(sorted(results), _without_seed)]
    return "\n".join((f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *rows))


def _without_seed(name: str) -> str:
    return name.rpartition("-s")[0]


def _row(key: str, cells: Sequence[TransferCell | None]) -> str:
    done = [cell for cell in cells if cell is not None]
    if not done:
        return f"| {key} | not finished |" + " |" * len(_COLUMNS)
    title = key if len(done) == len(cells) else f"{key} ({len(done)} of {len(cells)} seeds)"
    shown = [_mean([rate(cell) for cell in done]) for rate in _COLUMNS.values()]
    return f"| {' | '.join((title, *shown, f'{mean(cell.cpu_seconds for cell in done):,.0f}'))} |"


def _mean(rates: Sequence[Rate | None]) -> str:
    known = [100 * rate.value for rate in rates if rate is not None]
    return f"{mean(known):.2f} ({min(known):.2f} to {max(known):.2f})" if known else "-"
