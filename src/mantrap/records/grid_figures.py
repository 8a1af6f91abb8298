"""The figures of a cell of a grid by name, with intervals: what tables hold, and what two grids are compared by."""

from collections.abc import Sequence
from typing import TypeAlias

from mantrap.records.attacks import Difference
from mantrap.records.curves import Area
from mantrap.records.grid import GridCell, GridModel
from mantrap.records.shown import Rate

Figure: TypeAlias = Rate | Area | Difference | None
Figures: TypeAlias = dict[str, Figure]


def most(rates: Sequence[Rate | None]) -> Rate | None:
    """The largest of some shares, of the backdoors of a model: what one has to reckon with."""
    known = [rate for rate in rates if rate is not None]
    return max(known, key=lambda rate: rate.value, default=None)


def least(areas: Sequence[Area | None]) -> Area | None:
    """The smallest of some areas: of the backdoor that is parted from clean images worst."""
    known = [area for area in areas if area is not None]
    return min(known, key=lambda area: area.value, default=None)


def figures_of_model(model: GridModel) -> Figures:
    """How accurate a model is, and how often the backdoor works that works best."""
    return {
        "model_accuracy": model.accuracy,
        "model_success": most([measure.success for measure in model.measures]),
    }


def figures_of_cell(cell: GridCell) -> Figures:
    """What a defence comes to; of several backdoors that which works best, or which a guard knows worst.

    Every name is there for every cell, with ``None`` for what its kind of defence does not have.
    """
    guarded, repaired, screened = cell.guarded, cell.repaired, cell.screened
    areas = [screened.area] if screened else guarded.areas if guarded else ()
    return {
        "false_positives": guarded.false_positives if guarded else None,
        "false_negatives": most(guarded.missed) if guarded else None,
        "success_before": most(repaired.before) if repaired else None,
        "success_after": most(repaired.after) if repaired else None,
        "control_success": most(repaired.control_after) if repaired else None,
        "accuracy_before": repaired.accuracy.second if repaired else None,
        "accuracy_after": repaired.accuracy.first if repaired else None,
        "accuracy_change": repaired.accuracy if repaired else None,
        "control_accuracy_change": repaired.control_accuracy if repaired else None,
        "caught": screened.caught if screened else None,
        "spoilt": screened.spoilt if screened else None,
        "area": least(areas),
    }
