"""``mantrap compare``."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mantrap.cli.finished import read_record
from mantrap.cli.options import existing
from mantrap.errors import UsageError
from mantrap.records import AuditRecord, ComparedRecord, GridRecord
from mantrap.records.files import write_atomically

_RECORDS = {"grid": "grid.json", "audit": "audit.json"}


def compare(
    first: Path,
    second: Path,
    /,
    *,
    page: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Say in what two audits or two grids differ: what they began with, and then what they found.

    Exit code 1 where what was found differs, else 0; other settings, versions or seeds alone are no finding.

    Parameters
    ----------
    first: Path
        Folder of an audit or a grid, or its audit.json or grid.json.
    second: Path
        Another one of the same kind.
    page: Path
        Write the comparison there as HTML.
    as_json: bool
        Print the record on stdout, and nothing else.
    """
    from mantrap.report import render_compared_html, render_compared_text  # noqa: PLC0415 - start-up

    record = _compared(_record_of(first), _record_of(second), (str(first), str(second)))
    if page is not None:
        write_atomically(page, render_compared_html(record).encode())
    sys.stdout.write(record.to_json() if as_json else f"{render_compared_text(record)}\n")
    return 0 if record.findings_same else 1


def _compared(first: Path, second: Path, names: tuple[str, str]) -> ComparedRecord:
    from mantrap.workflow.compare_audits import compare_audits  # noqa: PLC0415 - start-up
    from mantrap.workflow.compare_grids import compare_grids  # noqa: PLC0415 - start-up

    kinds = [_kind(path) for path in (first, second)]
    if kinds[0] != kinds[1] or kinds[0] not in _RECORDS:
        raise UsageError(
            expected="two audits or two grids",
            got=f"a record of the kind {kinds[0]} and one of the kind {kinds[1]}",
            remedy="Give two of one kind.",
        )
    if kinds[0] == "grid":
        return compare_grids(read_record(first, GridRecord), read_record(second, GridRecord), names)
    return compare_audits(read_record(first, AuditRecord), read_record(second, AuditRecord), names)


def _record_of(run: Path) -> Path:
    """The record in a folder, or the file that was given.

    Raises:
        MissingDataError: There is none.
    """
    found = next((run / name for name in _RECORDS.values() if (run / name).is_file()), None)
    return found or existing(run if not run.is_dir() else run / "audit.json", "the record of an audit or a grid")


def _kind(path: Path) -> str:
    """What kind of record a file says that it holds; what says nothing is read as an audit, and refused as such."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "audit"
