"""A run's folder: whose work it holds, what is finished, and that only one process writes to it."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load, save
from torch import Tensor

from mantrap.errors import OutputError
from mantrap.records.files import write_atomically

_IDENTITY = "run.json"
_WORK = "work"


class RunFolder:
    """A folder that one run owns, from which the same command goes on after a kill.

    Args:
        path: The folder; made where it is not there.
        identity: What makes two runs the same: digests, specs, seed. Compared with what the folder says.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = dict(identity)

    @contextmanager
    def claimed(self, *, fresh: bool = False, outputs: tuple[str, ...] = ()) -> Iterator["RunFolder"]:
        """Own the folder inside: nobody else writes to it, and it belongs to this run.

        Args:
            fresh: Throw away what an earlier run left here: its finished work and the named outputs, nothing else.
            outputs: Names of the files that a finished run leaves in the folder.

        Raises:
            OutputError: The folder cannot be written, another process works in it, or it holds something else.
        """
        lock = self._lock()
        try:
            if fresh:
                shutil.rmtree(self.path / _WORK, ignore_errors=True)
                for name in (_IDENTITY, *outputs):
                    (self.path / name).unlink(missing_ok=True)
            self._settle()
            yield self
        finally:
            os.close(lock)

    def _lock(self) -> int:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(
                expected=f"a folder that can be written at {self.path}",
                got=f"{error.strerror or error}",
                remedy="Choose another --out.",
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise OutputError(
                expected=f"{self.path} for this process alone",
                got="another process that works in it",
                remedy="Wait for the other run, or choose another --out.",
            ) from error
        return handle

    def _settle(self) -> None:
        known = self.path / _IDENTITY
        if known.exists():
            try:
                before = json.loads(known.read_text())
            except (OSError, ValueError):
                before = None
            if before != self.identity:
                raise OutputError(
                    expected=f"{self.path} to be new or to hold this very run",
                    got=f"the run of another {_difference(before, self.identity)}",
                    remedy="Choose another --out, or start over in this one with --fresh.",
                )
            return
        others = sorted(p.name for p in self.path.iterdir() if p.name != ".lock")
        if others:
            raise OutputError(
                expected=f"{self.path} to be new, empty or the folder of this run",
                got=f"a folder that holds {', '.join(others[:3])}",
                remedy="Choose another --out.",
            )
        write_atomically(known, (json.dumps(self.identity, indent=1) + "\n").encode())

    def work(self, name: str) -> Path:
        """A file among the unfinished work."""
        return self.path / _WORK / name

    def memo(self, name: str) -> "FolderMemo":
        """Where finished pieces of one method are kept."""
        safe = hashlib.sha256(name.encode()).hexdigest()[:12]
        return FolderMemo(self.work(safe))

    def write(self, name: str, text: str) -> Path:
        """Put an output file into the folder, whole or not at all."""
        path = self.path / name
        write_atomically(path, text.encode())
        return path


class FolderMemo:
    """Finished pieces as one safetensors file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: str) -> dict[str, Tensor] | None:
        """The tensors under this key; ``None`` where there are none or the file is damaged: then they are made anew."""
        path = self.folder / f"{key}.safetensors"
        try:
            return load(path.read_bytes())
        except FileNotFoundError:
            return None
        except safetensors.SafetensorError:
            path.unlink()
            return None

    def save(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a key, whole or not at all."""
        write_atomically(
            self.folder / f"{key}.safetensors", save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
        )


def _difference(before: Any, now: Mapping[str, Any]) -> str:
    if not isinstance(before, dict):
        return "kind"
    return ", ".join(k.replace("_", " ") for k in sorted({*before, *now}) if before.get(k) != now.get(k))
