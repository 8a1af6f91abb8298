"""Put the record of a grid together from the pieces that are there."""

import datetime as dt
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mantrap.ops.roc import area_under
from mantrap.records import (
    CellState,
    GridArea,
    GridCell,
    GridModel,
    GridPiece,
    GridPlan,
    GridRecord,
    GridVolatile,
)
from mantrap.records.grid import CLEAN
from mantrap.workflow.grid_jobs import Job, Place, Subject
from mantrap.workflow.versions import versions
from mantrap.workflow.zoo import planted

Pieces = Mapping[str, GridPiece]
"""What is finished, by key."""
_NOTHING = GridPiece(key="", what="")


@dataclass(frozen=True)
class Grid:
    """A grid: its plan, digests of its images by data set and seed, and its models with all that is done with them."""

    plan: GridPlan
    digests: Mapping[tuple[str, int], Mapping[str, str]]
    subjects: tuple[Subject, ...]


def grid_record(grid: Grid, pieces: Pieces, *, started: dt.datetime, command: str) -> GridRecord:
    """The record of a whole grid; what is not finished is in it as not run.

    Args:
        grid: What was asked for.
        pieces: What is finished.
        started: When the run began.
        command: How to run it again.
    """
    models = tuple(_model(subject, pieces) for subject in grid.subjects)
    cells = [pair for subject in grid.subjects for pair in cells_of(subject, pieces)]
    digests = {f"{d}/s{s} {what}": digest for (d, s), own in grid.digests.items() for what, digest in own.items()}
    return GridRecord(
        plan=grid.plan,
        models=models,
        cells=tuple(cell for cell, _ in cells),
        areas=tuple(_areas(grid.plan, models, [cell for cell, _ in cells])),
        images=digests,
        versions=versions(),
        command=command,
        volatile=GridVolatile(
            started=started.isoformat(timespec="seconds"),
            machine=f"{platform.system()} {platform.machine()}",
            cpu_seconds={cell.name: pieces[job.key].cpu_seconds for cell, job in cells if job.key in pieces},
        ),
    )


def cells_of(subject: Subject, pieces: Pieces) -> Iterator[tuple[GridCell, Job]]:
    """The cells of a model with their jobs."""
    for (kind, spec), job in subject.defences.items():
        state, failure = _state(job, pieces)
        found = pieces[job.key] if state in (CellState.DONE, CellState.UNTRIED) else _NOTHING
        cell = GridCell(
            data=job.data,
            model=job.model,
            attack=job.attack,
            defence=spec,
            defends=kind,
            seed=job.seed,
            state=state,
            failure=failure,
            untried=found.untried,
            detected=found.detected,
            guarded=found.guarded,
            repaired=found.repaired,
            screened=found.screened,
            cost=found.cost,
        )
        yield cell, job


def broken(job: Job, pieces: Pieces) -> str:
    """How what a job needs has failed; empty where nothing has."""
    for below in job.below():
        piece = pieces.get(below.key)
        if below is not job and piece is not None and piece.failure:
            return f"{below} failed: {piece.failure}"
    return ""


def _state(job: Job, pieces: Pieces) -> tuple[CellState, str]:
    """How far a job has come, and how it failed where it has."""
    piece = pieces.get(job.key)
    failure = broken(job, pieces) or (piece.failure if piece is not None else "")
    if failure:
        return CellState.FAILED, failure
    if piece is None:
        return CellState.NOT_RUN, ""
    return CellState.UNTRIED if piece.untried else CellState.DONE, ""


def _model(subject: Subject, pieces: Pieces) -> GridModel:
    made, (state, failure) = pieces.get(subject.made.key, _NOTHING), _state(subject.measured, pieces)
    found = pieces[subject.measured.key] if state is CellState.DONE else _NOTHING
    return GridModel(
        data=subject.made.data,
        model=subject.made.model,
        attack=subject.made.attack,
        seed=subject.made.seed,
        state=state,
        failure=failure,
        file=Place.model_file(subject.made) if made.sha256 else "",
        sha256=made.sha256,
        accuracy=found.accuracy,
        comparison=found.comparison,
        measures=found.measures,
        works=state is CellState.DONE and all(map(planted, found.measures)),
    )


def _areas(plan: GridPlan, models: Iterable[GridModel], cells: Iterable[GridCell]) -> Iterator[GridArea]:
    """How well each detector's p-values part attacked models from clean ones, by attack and for all together."""
    working = {model.name for model in models if model.works}
    scores: dict[tuple[str, str, str, str], list[float]] = {}
    for cell in cells:
        found = cell.detected if cell.of in working else None
        if found is not None and found.p_value is not None:
            scores.setdefault((cell.data, cell.model, cell.defence, cell.attack), []).append(-found.p_value)
    for data, model, defence in dict.fromkeys(key[:3] for key in scores):
        clean = scores.get((data, model, defence, CLEAN), [])
        infected = {attack: scores.get((data, model, defence, attack), []) for attack in plan.attacks}
        if len(plan.attacks) > 1:
            infected[""] = [score for some in infected.values() for score in some]
        for attack, some in infected.items():
            if some and clean:
                area = area_under(some, clean)
                yield GridArea(data=data, model=model, attack=attack, defence=defence, area=area)
