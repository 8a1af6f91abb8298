"""Records of finished work, as the command line is given them: by a file, or by the folder of a run."""

from pathlib import Path
from typing import TypeVar

from mantrap.cli.options import existing
from mantrap.errors import MissingDataError, RecordError, UsageError
from mantrap.records import Record, kind_of

Kept = TypeVar("Kept", bound=Record)

_IN_FOLDERS = ("audit.json", "screen.json", "evade.json", "transfer.json", "grid.json")
"""What the record of a run is called in its folder."""


def read_record(run: Path, *kinds: type[Kept]) -> Kept:
    """The record in a file or in the folder of a run. What it is it says itself; the name of its file does not matter.

    Args:
        run: The file, or the folder of an audit, a screening, a grid or evasions.
        kinds: Kinds of records of which it may be.

    Raises:
        MissingDataError: There is none.
        RecordError: It is broken, or of another schema version.
        UsageError: It is of another kind.
    """
    path = _in_folder(run) if run.is_dir() else run
    known = {kind.kind_name(): kind for kind in kinds}
    *most, last = known
    wanted = f"a record of the kind {', '.join(most)}{' or ' if most else ''}{last}"
    text = _text_of(existing(path, wanted))
    try:
        told = kind_of(text)
        if told in known:
            return known[told].from_json(text)
    except RecordError as error:
        raise RecordError(expected=f"{error.expected} in {path}", got=error.got, remedy=error.remedy) from error
    raise UsageError(expected=f"{wanted} in {path}", got=f"one of the kind {told!r:.80}", remedy="Give another file.")


def _in_folder(run: Path) -> Path:
    for name in _IN_FOLDERS:
        if (run / name).is_file():
            return run / name
    raise MissingDataError(
        expected=f"{', '.join(_IN_FOLDERS[:-1])} or {_IN_FOLDERS[-1]} in {run}",
        got="none of them",
        remedy="Give the folder of a run, or a record itself.",
    )


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(
            expected=f"a record in {path}", got=str(error), remedy="Give a file that mantrap wrote, or its folder."
        ) from error
