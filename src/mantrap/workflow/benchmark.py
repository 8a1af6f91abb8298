"""Try every attack against every defence on every task with every seed, and write down what came of it."""

import datetime as dt
import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mantrap.core import SILENT, Progress
from mantrap.engine import Engine, Here
from mantrap.errors import UsageError
from mantrap.records import GridCell, GridPiece, GridPlan, GridRecord
from mantrap.workflow.grid_images import check_plan
from mantrap.workflow.grid_jobs import Job, Place, subjects
from mantrap.workflow.grid_record import Grid, broken, cells_of, grid_record
from mantrap.workflow.grid_work import finished, make
from mantrap.workflow.rundir import RunFolder

RECORD_FILE, TABLE_FILE, REPORT_FILE = "grid.json", "grid.csv", "report.html"
"""What a grid leaves in its folder, beside the work that it is made of."""


@dataclass(frozen=True, kw_only=True)
class Benchmarking:
    """What to try.

    Args:
        plan: The whole grid.
        only: Shell pattern of the cells to make now, by their names or by a part of these, such as one attack.
        again: Whether pieces that failed are tried once more.
        command: How to run it again, for the record.
    """

    plan: GridPlan
    only: str = "*"
    again: bool = False
    command: str = ""


def benchmark(
    work: Benchmarking,
    out: Path,
    *,
    fresh: bool = False,
    engine: Engine | None = None,
    progress: Progress = SILENT,
) -> GridRecord:
    """Make what is not there of a grid, and write ``grid.json``.

    Every piece of work is kept by the digest of all that it depends on (specs, images, seed, versions, and the pieces
    that it begins with), so that the same call goes on after a kill, and another grid in the same folder takes from it
    what is the same. A piece that fails is kept as failed; the others go on.

    Args:
        work: What to try; checked as a whole before anything runs.
        out: Folder of the grid.
        fresh: Start over, and throw away what the folder holds of grids.
        engine: Where to run; in this process where ``None``.
        progress: Observer; one unit a piece.

    Returns:
        The record of the whole grid; cells that nobody asked for yet are in it as not run.

    Raises:
        DataError: Files of a data set are broken.
        OutputError: The folder cannot be written, is in use, or holds something else.
        UsageError: A data set is not there, something does not fit it, or no cell fits the pattern.
    """
    started, digests = dt.datetime.now(dt.UTC), check_plan(work.plan)
    grid = Grid(work.plan, digests, tuple(subjects(work.plan, digests)))
    wanted = _wanted(grid, work.only)
    outputs = (RECORD_FILE, TABLE_FILE, REPORT_FILE)
    with RunFolder(out, {"kind": "grid"}).claimed(fresh=fresh, outputs=outputs) as folder:
        pieces = dict(_known(grid, Place(out)))
        todo = [job for job in wanted if job.key not in pieces or (work.again and pieces[job.key].failure)]
        _run(todo, pieces, out, engine=engine or Here(), progress=progress)
        record = grid_record(grid, pieces, started=started, command=work.command)
        folder.write(RECORD_FILE, record.to_json())
    return record


def _wanted(grid: Grid, only: str) -> tuple[Job, ...]:
    """The jobs of the cells that a pattern chooses, all that these need, and the measuring of every model among that.

    Raises:
        UsageError: It chooses none.
    """
    cells = [pair for subject in grid.subjects for pair in cells_of(subject, {})]
    jobs = {below.key: below for cell, job in cells if _fits(cell, only) for below in job.below()}
    if not jobs:
        raise UsageError(
            expected=f"a pattern of cells such as {cells[0][0].name}, or of a part of their names",
            got=repr(only),
            remedy="Correct --only.",
        )
    return *jobs.values(), *(subject.measured for subject in grid.subjects if subject.made.key in jobs)


def _fits(cell: GridCell, only: str) -> bool:
    names = (cell.name, cell.data, cell.model, cell.attack, cell.defence, cell.defends.value, f"s{cell.seed}")
    return any(fnmatch.fnmatchcase(name, only) for name in names)


def _known(grid: Grid, place: Place) -> Iterator[tuple[str, GridPiece]]:
    """What is there already, by key."""
    jobs = {job.key: job for s in grid.subjects for one in (s.measured, *s.defences.values()) for job in one.below()}
    for key, job in jobs.items():
        piece = finished(job, place)
        if piece is not None:
            yield key, piece


def _run(todo: Iterable[Job], pieces: dict[str, GridPiece], out: Path, *, engine: Engine, progress: Progress) -> None:
    """Make pieces, stage by stage; what begins with a piece that failed is left out."""
    todo = tuple(todo)
    for job in todo:
        pieces.pop(job.key, None)
    with progress.stage("grid", len(todo)) as stage:
        for level in sorted({job.what.stage for job in todo}):
            ready = [job for job in todo if job.what.stage == level]
            fit = [job for job in ready if not broken(job, pieces)]
            stage.advance(len(ready) - len(fit))
            for job, piece in zip(fit, engine.map(partial(make, out=out), fit), strict=True):
                pieces[job.key] = piece
                stage.advance(1, str(job))
