"""``mantrap report``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mantrap.cli.finished import read_record
from mantrap.errors import UsageError
from mantrap.records import AuditRecord, CleanseRecord, GridRecord, GuardRecord, ScreenRecord
from mantrap.records.files import write_atomically
from mantrap.report import CLEANSE_RENDERERS, GRID_RENDERERS, GUARD_RENDERERS, RENDERERS, SCREEN_RENDERERS

_SUFFIXES = {".html": "html", ".json": "json", ".txt": "text", ".csv": "csv"}
_FOUND = ("grid.json", "screen.json", "audit.json")
"""Records that a folder may hold, the first that is there."""


def report(
    run: Path,
    /,
    *,
    style: Annotated[Literal["html", "json", "text", "csv"] | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
) -> int:
    """Render the record of a finished audit, repair, guard, screening or grid again.

    Parameters
    ----------
    run: Path
        Folder of an audit, a screening or a grid, its audit.json, screen.json or grid.json, the NAME.cleanse.json of a
        repair, or the NAME.guard.json of a guard.
    style: str
        html, json or text, of a grid csv as well; by the suffix of the output where not given, else text.
    output: Path
        File to write; stdout where not given.
    """
    path = run
    if run.is_dir():
        path = run / next((name for name in _FOUND if (run / name).is_file()), _FOUND[-1])
    chosen = style or (_SUFFIXES.get(output.suffix) if output else "text")
    if chosen is None:
        raise UsageError(
            expected=f"an output that ends in {', '.join(_SUFFIXES)}", got=str(output), remedy="Give --format."
        )
    if chosen == "csv" and path.name != "grid.json":
        raise UsageError(expected="the grid.json of a grid for csv", got=str(path), remedy="Choose another --format.")
    if path.name.endswith(".cleanse.json"):
        text = CLEANSE_RENDERERS[chosen](read_record(path, CleanseRecord))
    elif path.name.endswith(".guard.json"):
        text = GUARD_RENDERERS[chosen](read_record(path, GuardRecord))
    elif path.name == "screen.json":
        text = SCREEN_RENDERERS[chosen](read_record(path, ScreenRecord))
    elif path.name == "grid.json":
        text = GRID_RENDERERS[chosen](read_record(path, GridRecord))
    else:
        text = RENDERERS[chosen](read_record(path, AuditRecord))
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    else:
        write_atomically(output, text.encode())
    return 0
