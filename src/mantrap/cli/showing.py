"""How a verb shows what it made: a page, on stdout the record or its text, and an exit code."""

import sys
from pathlib import Path

from mantrap.records import Record, Verdict
from mantrap.records.files import write_atomically

EXIT = {Verdict.NO_EVIDENCE: 0, Verdict.SUSPICIOUS: 1, Verdict.INCONCLUSIVE: 3, Verdict.REFUSED: 4}
ALREADY = "It was there already, finished by the same command; nothing was done. --fresh makes it anew.\n"


def show(record: Record, *, as_json: bool, page: Path | None = None, title: str = "", more: str = "") -> None:
    """Write the page of a record, and print the record, or its text and where the page is.

    Args:
        record: Of a kind that has a report.
        as_json: Print the record and nothing else.
        page: HTML file to write; none where ``None``.
        title: What stands before the text.
        more: Lines to print after it.
    """
    from mantrap.report import render  # noqa: PLC0415 - start-up

    if page is not None:
        write_atomically(page, render(record, "html").encode())
        more = f"\nReport: {page}\n{more}"
    sys.stdout.write(record.to_json() if as_json else f"{title}{render(record, 'text').rstrip()}\n{more}")


def version_of(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written again; ``None`` where there is no file."""
    if not path.is_file():
        return None
    state = path.stat()
    return state.st_ino, state.st_mtime_ns


def already(path: Path, before: tuple[int, int] | None) -> str:
    """A line that says that nothing was done, where a file is as it was before."""
    return ALREADY if before is not None and before == version_of(path) else ""
