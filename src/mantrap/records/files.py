"""Files that are whole or not there at all."""

import hashlib
import os
import secrets
from pathlib import Path

from mantrap.errors import OutputError


def write_atomically(path: Path, data: bytes) -> None:
    """Put bytes into a file so that nobody ever sees half of them.

    They go to a temporary file in the same folder, from there to the disk, and only then under the name. The folder is
    made where it is not there. After a failure the earlier file is untouched and nothing else is left.

    Raises:
        OutputError: The place cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            expected=f"to write {path}",
            got=f"{error.strerror or error}",
            remedy="Choose a place that is writable and has room.",
        ) from error


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Bring the new name itself to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
