"""What a cell on attacks leaves behind, and the table of docs/parity.md made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean
from typing import TypeAlias

from mantrap.records import AttackMeasure, ImplantRecord, Rate, Record
from mantrap.records.base import SCHEMA_VERSION

_COLUMNS = (
    "cell",
    "attack",
    "aim: loss, success",
    "clean accuracy",
    "loss, points",
    "success",
    "clean model",
    "bystanders",
    "SSIM",
    "PSNR, dB",
    "largest change",
    "CPU s",
)


class AttackCell(Record):
    """One finished cell; ``record`` is ``None`` for a clean model."""

    schema_version: str = SCHEMA_VERSION
    kind: str = "attack_cell"
    name: str
    accuracy: Rate
    record: ImplantRecord | None
    cpu_seconds: float


@dataclass(frozen=True)
class Aim:
    """What a row is to reach in the mean of its seeds: most points of accuracy lost, least success in per cent."""

    loss: float
    success: float

    def __str__(self) -> str:
        return f"<= {self.loss:g}, >= {self.success:g}"

    def told(self, loss: float, success: float) -> str:
        """The aim, and what of it is missed."""
        missed = ["loss"] * (loss > self.loss) + ["success"] * (success < self.success)
        return f"{self}: {' and '.join(missed)} missed" if missed else f"{self}: met"


Aims: TypeAlias = Mapping[str, Aim | None]


SHORT = ("cell", "attack", "clean accuracy", "loss, points", "success")


def table(results: Mapping[str, AttackCell | None], *, aims: Aims, columns: Sequence[str] = _COLUMNS) -> str:
    """A row for each attack on each task, the mean of its seeds; unfinished ones are shown as such.

    ``aims`` are by row, as cells are called without their seed; ``None`` where a row is to reach nothing.
    """
    grouped = groupby(results, _without_seed)
    return _table([_row(key, [results[name] for name in names], aims[key]) for key, names in grouped], columns)


def cards(results: Mapping[str, AttackCell | None], *, aims: Aims) -> Mapping[str, str]:
    """For each attack that has been measured the rows of it."""
    rows: dict[str, list[Sequence[str]]] = {}
    for key, names in groupby(results, _without_seed):
        cells = [results[name] for name in names]
        attacks = {cell.record.attack.partition("(")[0] for cell in cells if cell is not None and cell.record}
        for attack in attacks:
            rows.setdefault(attack, []).append(_row(key, cells, aims[key]))
    return {attack: _table(found, _COLUMNS) for attack, found in rows.items()}


def _table(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    places = [_COLUMNS.index(column) for column in columns]
    shown = [f"| {' | '.join(row[place] for place in places)} |" for row in (_COLUMNS, *rows)]
    return "\n".join((shown[0], "|" + "---|" * len(columns), *shown[1:]))


def _without_seed(name: str) -> str:
    return name.rpartition("-s")[0]


def _row(key: str, cells: Sequence[AttackCell | None], aim: Aim | None) -> Sequence[str]:
    done = [cell for cell in cells if cell is not None]
    title = key if len(done) == len(cells) else f"{key} ({len(done)} of {len(cells)} seeds)"
    if not done:
        return (title, "not finished", *[""] * (len(_COLUMNS) - 2))
    seconds = f"{mean(cell.cpu_seconds for cell in done):,.0f}"
    accuracy = _spread([100 * cell.accuracy.value for cell in done])
    records = [cell.record for cell in done if cell.record is not None]
    if not records:
        return (title, "(clean)", "", accuracy, *[""] * (len(_COLUMNS) - 5), seconds)
    measures = [measure for record in records for measure in record.backdoors]
    losses = [record.comparison for record in records if record.comparison is not None]
    successes = [100 * measure.success.value for measure in measures]
    lost = -100 * mean(loss.value for loss in losses)
    return (
        title,
        f"`{records[0].attack}`",
        "" if aim is None else aim.told(lost, mean(successes)) if len(done) == len(cells) else f"{aim}: open",
        accuracy,
        f"{lost:+.2f} (" + ", ".join(f"{-100 * loss.high:+.2f} to {-100 * loss.low:+.2f}" for loss in losses) + ")",
        _spread(successes),
        _share([measure.clean_model_success for measure in measures]),
        _share([measure.bystanders for measure in measures]),
        f"{mean(measure.stealth.ssim for measure in measures):.3f}",
        _decibels(measures),
        f"{255 * max(measure.stealth.largest_change for measure in measures):.0f}/255",
        seconds,
    )


def _spread(values: Sequence[float]) -> str:
    """The mean, and where there are several the smallest and the largest."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _share(rates: Sequence[Rate | None]) -> str:
    known = [100 * rate.value for rate in rates if rate is not None]
    return f"{mean(known):.2f}" if known else "-"


def _decibels(measures: Sequence[AttackMeasure]) -> str:
    known = [measure.stealth.psnr for measure in measures if measure.stealth.psnr is not None]
    return f"{mean(known):.1f}" if known else "-"
