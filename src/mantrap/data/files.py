"""What several readers need to know about a file before they trust it."""

import os
from pathlib import Path

from mantrap.errors import DataError, MissingDataError

_POINTER = b"version https://git-lfs.github.com/spec/"
_FREE = 256 * 2**20
_MAX_RATIO = 100


def stand_in(data: Path | bytes) -> str | None:
    """What a file holds in place of the data it should hold, in words, or ``None`` where nothing gives it away."""
    if isinstance(data, bytes):
        head = data[:512]
    elif not data.is_file():
        return None
    else:
        with data.open("rb") as file:
            head = file.read(512)
    if not head:
        return "an empty file"
    if head.startswith(_POINTER):
        return "a Git LFS pointer instead of the file itself (run `git lfs pull`)"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page instead of the file itself (the download was a web page)"
    return None


def inside(folder: Path, name: str) -> Path | None:
    """The path of a name that a table gives, or ``None`` where it leads out of the folder."""
    root = folder.resolve()
    try:
        path = (root / name).resolve()
    except ValueError:  # a zero byte, which no path has
        return None
    return path if path.is_relative_to(root) else None


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; a name that the system cannot have is not there."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for a name that is too long


def require_file(path: Path) -> None:
    """Refuse a path that is no file, and a file that stands in for another.

    Raises:
        MissingDataError: There is no such file.
        DataError: It is empty, a Git LFS pointer or an HTML page.
    """
    if not path.is_file():
        raise MissingDataError(
            expected=f"the file {path}", got="no such file", remedy="Put it there, or correct the path."
        )
    if what := stand_in(path):
        raise DataError(expected=f"data in {path}", got=what, remedy="Fetch the file again.")


def refuse_bomb(path: Path, *, unpacked: int, packed: int) -> None:
    """Refuse a compressed file that would unpack to far more than its size explains, before it is unpacked.

    Raises:
        DataError: More than 256 MiB, and more than 100 times the compressed size.
    """
    if unpacked > _FREE and unpacked > _MAX_RATIO * packed:
        raise DataError(
            expected=f"at most {_MAX_RATIO} bytes from each compressed byte of {path}",
            got=f"{packed} bytes that claim to hold {unpacked}",
            remedy="Do not trust this file; save the arrays uncompressed if they are yours.",
        )
