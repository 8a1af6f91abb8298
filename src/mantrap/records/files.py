"""Files that are whole or not there at all."""

import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mantrap.errors import MantrapError, OutputError

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a cell for a formula by, when it begins so."""


def write_atomically(path: Path, data: bytes) -> None:
    """Put bytes into a file so that nobody ever sees half of them; see :func:`drafted`.

    Raises:
        OutputError: The place cannot be written.
    """
    with drafted(path) as draft, draft.open("xb") as file:
        file.write(data)


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A place beside a file or folder to make it in, so that nobody ever sees half of it.

    What is made there goes to the disk when the context ends, and only then takes the name. The folder above is made
    where it is not there. After a failure what was there before is untouched and nothing else is left.

    Raises:
        OutputError: The place cannot be written, or a folder shall take the name of one that is not empty.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            _sync(draft)
            draft.replace(path)
        finally:
            discard(draft)
        _flush(path.parent)
    except MantrapError:  # of whoever makes it; some of them are OSErrors, too
        raise
    except OSError as error:
        raise OutputError(
            expected=f"to write {path}",
            got=f"{error.strerror or error}",
            remedy="Choose a place that is writable and has room.",
        ) from error


def left_by_kills(path: Path) -> list[Path]:
    """What :func:`drafted` made for this place and could not take away, because it was killed meanwhile."""
    return list(path.parent.glob(f".{glob.escape(path.name)}.{'?' * 16}.part"))


def discard(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; nothing where there is neither."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def harmless(name: str) -> str:
    """A name from a stranger as a cell of a table, which no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(made: Path) -> None:
    """Bring what was made to the disk; for a folder everything at once, for its files one by one would take minutes."""
    if made.is_dir():
        os.sync()
    else:
        _flush(made)


def _flush(path: Path) -> None:
    """Bring one file, or the names in one folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
