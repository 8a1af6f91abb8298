"""In what two grids differ."""

from collections.abc import Iterable

from mantrap.records import CellState, ChangeRecord, ComparedRecord, Difference, GridCell, GridModel, GridRecord
from mantrap.records.grid_figures import Figures, figures_of_cell, figures_of_model
from mantrap.workflow.contrast import Findings, Place, contrasted, settings


def compare_grids(first: GridRecord, second: GridRecord, names: tuple[str, str]) -> ComparedRecord:
    """What two grids began with, and in what the models and cells differ that both have.

    Args:
        first: One grid.
        second: Another one.
        names: What they are called.
    """
    one, other = _made(first), _made(second)
    both = [name for name in one if name in other]
    changes = tuple(change for name in both for change in contrasted(_findings(one[name]), _findings(other[name])))
    only = ([name for name in one if name not in other], [name for name in other if name not in one])
    return ComparedRecord(
        of="grids",
        first=names[0],
        second=names[1],
        headline=_headline(len(both), changes, only),
        findings_same=not changes and not any(only),
        settings=settings(_began(first, second), _began(second, first)),
        compared=len(both),
        changes=changes,
        only_first=tuple(only[0]),
        only_second=tuple(only[1]),
    )


def _headline(both: int, changes: Iterable[ChangeRecord], only: tuple[list[str], list[str]]) -> str:
    changed = {change.about for change in changes}
    sure = {change.about for change in changes if change.sure}
    told = f"Of {both:,} models and cells that both grids have, "
    told += f"{len(changed):,} differ, {len(sure):,} of them beyond the interval at 95 %" if changed else "none differs"
    more = [f"{len(names):,} only the {which}" for names, which in zip(only, ("first", "second"), strict=True) if names]
    return f"{told}; {' and '.join(more)} has." if more else f"{told}."


def _made(record: GridRecord) -> dict[str, GridModel | GridCell]:
    """All models and cells that somebody has run, by name."""
    some: tuple[GridModel | GridCell, ...] = (*record.models, *record.cells)
    return {_name(one): one for one in some if one.state is not CellState.NOT_RUN}


def _name(one: GridModel | GridCell) -> str:
    return f"model {one.name}" if isinstance(one, GridModel) else one.name


def _began(record: GridRecord, other: GridRecord) -> dict[str, object]:
    """What a grid began with; of its images those of data sets and seeds that the other has as well."""
    plan = record.plan
    images: dict[str, list[str]] = {}
    for what, digest in record.images.items():
        if what in other.images:
            images.setdefault(f"images of {what.rpartition(' ')[0]}", []).append(digest)
    return {
        "training": f"{plan.training_images or 'all'} images, {plan.recipe}, on trained models {plan.retraining}",
        "defender": f"{plan.defender_images} images, triggers from {plan.triggers}, guards at {plan.fpr:g}",
        "test": f"{plan.test_images} images",
        **{what: " ".join(digests) for what, digests in images.items()},
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items())),
    }


def _findings(one: GridModel | GridCell) -> Findings:
    """All figures of a model or of a cell, and what has come of it in words."""
    name = _name(one)
    found: Findings = {Place(name, "state"): one.state.value}
    if one.failure:
        found[Place(name, "failure")] = one.failure
    figures: Figures = figures_of_model(one) if isinstance(one, GridModel) else figures_of_cell(one)
    for what, figure in figures.items():
        if figure is not None and not isinstance(figure, Difference):  # of which both shares are there as well
            found[Place(name, what.replace("_", " "))] = figure
    if isinstance(one, GridModel) and one.sha256:
        found[Place(name, "weights")] = f"sha256 {one.sha256[:16]}..."
    if isinstance(one, GridCell) and (detected := one.detected) is not None:
        found |= {
            Place(name, "verdict"): detected.verdict.value,
            Place(name, "p-value"): detected.p_value,
            Place(name, "stands out most"): detected.first,
            Place(name, "labels with a trigger"): ", ".join(map(str, detected.suspects)) or "none",
        }
    return found
