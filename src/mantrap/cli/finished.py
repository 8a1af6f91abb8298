"""Records of finished work, as the command line is given them."""

from pathlib import Path
from typing import TypeVar

from mantrap.cli.options import existing
from mantrap.errors import MissingDataError, RecordError
from mantrap.records import AuditRecord, CleanseRecord, GridRecord, GuardRecord, ScreenRecord

Kept = TypeVar("Kept", AuditRecord, CleanseRecord, GridRecord, GuardRecord, ScreenRecord)

_MADE = {
    AuditRecord: "audit",
    CleanseRecord: "repair",
    GridRecord: "grid",
    GuardRecord: "guard",
    ScreenRecord: "screening",
}


def read_record(path: Path, kind: type[Kept]) -> Kept:
    """The record of a finished audit, repair, guard, screening or grid.

    Raises:
        MissingDataError: There is none.
        RecordError: It is broken.
    """
    try:
        return kind.from_json(existing(path, f"the record of a finished {_MADE[kind]}").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, MissingDataError):
            raise
        raise RecordError(
            expected=f"a record in {path}", got=str(error), remedy="Give the file that mantrap wrote, or its folder."
        ) from error
