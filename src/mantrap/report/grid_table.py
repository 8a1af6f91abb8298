"""The cells of a grid as comma-separated text, for spreadsheets and data frames."""

import csv
import io
from collections.abc import Iterator, Mapping

from mantrap.records import GridCell, GridModel, GridRecord
from mantrap.records.files import harmless
from mantrap.records.grid_figures import Figures, figures_of_cell, figures_of_model

_ENDS = ("", "_low", "_high")
_NAMES = ("data", "model", "attack", "defends", "defence", "seed", "state", "said")
_FOUND = ("verdict", "p_value", "first", "suspects", "targets")
_COST = ("forward", "backward", "cpu_seconds")


def render_grid_csv(record: GridRecord) -> str:
    """A row for each cell: what it is, how far it has come, and every figure with the ends of its interval at 95 %.

    What a kind of defence does not have stays empty. Of several backdoors the figures are those of the one that works
    best, or that the guard knows worst. Text of strangers is written so that no spreadsheet takes it for a formula.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    models = {model.name: model for model in record.models}
    for number, cell in enumerate(record.cells):
        figures = figures_of_model(models[cell.of]) | figures_of_cell(cell)
        if not number:
            table.writerow((*_NAMES, *_FOUND, *(f"{name}{end}" for name in figures for end in _ENDS), *_COST))
        table.writerow(_row(cell, models[cell.of], figures, record.volatile.cpu_seconds))
    return text.getvalue()


def _row(cell: GridCell, model: GridModel, figures: Figures, seconds: Mapping[str, float]) -> Iterator[object]:
    said = cell.failure or cell.untried
    names = (cell.data, cell.model, cell.attack, cell.defends.value, cell.defence)
    yield from (*map(harmless, names), cell.seed, cell.state.value, harmless(said))
    found = cell.detected
    p_value = found.p_value if found is not None else None
    yield from (
        ("", "", "", "")
        if found is None
        else (
            found.verdict.value,
            "" if p_value is None else f"{p_value:.6g}",
            "" if found.first is None else found.first,
            " ".join(map(str, found.suspects)),
        )
    )
    yield " ".join(map(str, model.targets))
    for one in figures.values():
        yield from ("", "", "") if one is None else (f"{v:.6g}" for v in (one.value, one.low, one.high))
    yield from (sum(stage.forward for stage in cell.cost), sum(stage.backward for stage in cell.cost))
    yield seconds.get(cell.name, "")
