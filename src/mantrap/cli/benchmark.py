"""``mantrap benchmark``."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from mantrap.cli.options import Running, command_line
from mantrap.cli.progress import watching
from mantrap.cli.showing import show
from mantrap.records import CellState, GridRecord
from mantrap.records.files import write_atomically


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Trying:
    """Which cells to make, and how."""

    out: Path
    """Folder of the grid: the record, a table, a report, and all work that is finished. Several grids may share it."""
    only: str = "*"
    """Shell pattern of cells, by their names DATA/MODEL/ATTACK/DEFENCE/sSEED or by one part of these."""
    again: bool = False
    """Try what failed once more."""
    workers: int = 1
    """Processes that work at the same time, each with one thread; the results are the same."""
    fresh: bool = False
    """Start over, and throw away all work on grids in the folder."""
    json: bool = False
    """Print the record on stdout, and nothing else."""
    quiet: bool = False
    """No progress on stderr."""


def benchmark(grid: Path, /, *, trying: Trying) -> int:
    """Try every attack against every defence on every task with every seed; the same command goes on after a kill.

    What is finished is kept by all that it depends on: a grid that was changed makes only what is new in it.

    Parameters
    ----------
    grid: Path
        The plan, a file of TOML.
    """
    from mantrap.engine import Here, Processes  # noqa: PLC0415 - torch
    from mantrap.report import render  # noqa: PLC0415 - start-up
    from mantrap.workflow import benchmark as benchmarking  # noqa: PLC0415 - torch
    from mantrap.workflow.grid_plan import read_grid  # noqa: PLC0415 - torch

    Running().apply(threads=1)  # as in the processes of an engine: the number of threads may move the last digits
    plan, out = read_grid(grid), trying.out
    engine = Here() if trying.workers == 1 else Processes(workers=trying.workers)
    work = benchmarking.Benchmarking(
        plan=plan,
        only=trying.only,
        again=trying.again,
        command=command_line("benchmark", str(grid), out=out),
    )
    record = benchmarking.benchmark(work, out, fresh=trying.fresh, engine=engine, progress=watching(quiet=trying.quiet))
    write_atomically(out / benchmarking.TABLE_FILE, render(record, "csv").encode())
    show(record, as_json=trying.json, page=out / benchmarking.REPORT_FILE)
    return _exit_code(record)


def _exit_code(record: GridRecord) -> int:
    """5 where anything failed, whenever that was, else 0."""
    failed = any(one.state is CellState.FAILED for some in (record.models, record.cells) for one in some)
    return 5 if failed else 0
