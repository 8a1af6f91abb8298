"""``mantrap report``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mantrap.cli.finished import read_record
from mantrap.errors import UsageError
from mantrap.records.files import write_atomically
from mantrap.report import FORMS, render

_SUFFIXES = {".html": "html", ".json": "json", ".txt": "text", ".csv": "csv"}


def report(
    run: Path,
    /,
    *,
    style: Annotated[Literal["html", "json", "text", "csv"] | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
) -> int:
    """Render a saved record once more, whichever verb wrote it.

    Parameters
    ----------
    run: Path
        Folder of an audit, a screening, a grid or evasions, or the file of any record, such as NAME.cleanse.json or
        what --json printed.
    style: str
        text or json, of most records html, of a grid csv; by the suffix of the output where not given, else text.
    output: Path
        File to write; stdout where not given.
    """
    chosen = style or (_SUFFIXES.get(output.suffix) if output else "text")
    if chosen is None:
        raise UsageError(
            expected=f"an output that ends in {', '.join(_SUFFIXES)}", got=str(output), remedy="Give --format."
        )
    text = render(read_record(run, *FORMS), chosen)
    if output is None:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    else:
        write_atomically(output, text.encode())
    return 0
