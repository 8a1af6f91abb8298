"""``mantrap report``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mantrap.cli.options import existing
from mantrap.errors import RecordError, UsageError
from mantrap.records import AuditRecord
from mantrap.records.files import write_atomically
from mantrap.report import RENDERERS

_SUFFIXES = {".html": "html", ".json": "json", ".txt": "text"}


def report(
    run: Path,
    /,
    *,
    style: Annotated[Literal["html", "json", "text"] | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
) -> int:
    """Render the record of a finished audit again.

    Parameters
    ----------
    run: Path
        Folder of a run, or its audit.json.
    style: str
        html, json or text; by the suffix of the output where not given, else text.
    output: Path
        File to write; stdout where not given.
    """
    record = _read(_record_file(run))
    chosen = style or (_SUFFIXES.get(output.suffix) if output else "text")
    if chosen is None:
        raise UsageError(
            expected=f"an output that ends in {', '.join(_SUFFIXES)}", got=str(output), remedy="Give --format."
        )
    text = RENDERERS[chosen](record)
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    else:
        write_atomically(output, text.encode())
    return 0


def _read(path: Path) -> AuditRecord:
    try:
        return AuditRecord.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(
            expected=f"a record in {path}", got=str(error), remedy="Give the audit.json of a run, or its folder."
        ) from error


def _record_file(run: Path) -> Path:
    return existing(run / "audit.json" if run.is_dir() else run, "the record of a finished audit")
