"""``mantrap compare``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mantrap.cli.finished import read_record
from mantrap.cli.showing import show
from mantrap.errors import UsageError
from mantrap.records import AuditRecord, ComparedRecord, GridRecord, Record


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
    runs = [read_record(run, AuditRecord, GridRecord) for run in (first, second)]
    record = _compared(runs[0], runs[1], (str(first), str(second)))
    show(record, as_json=as_json, page=page)
    return 0 if record.findings_same else 1


def _compared(first: Record, second: Record, names: tuple[str, str]) -> ComparedRecord:
    from mantrap.workflow.compare_audits import compare_audits  # noqa: PLC0415 - start-up
    from mantrap.workflow.compare_grids import compare_grids  # noqa: PLC0415 - start-up

    if isinstance(first, AuditRecord) and isinstance(second, AuditRecord):
        return compare_audits(first, second, names)
    if isinstance(first, GridRecord) and isinstance(second, GridRecord):
        return compare_grids(first, second, names)
    raise UsageError(
        expected="two audits or two grids",
        got=f"a record of the kind {first.kind_name()} and one of the kind {second.kind_name()}",
        remedy="Give two of one kind.",
    )
