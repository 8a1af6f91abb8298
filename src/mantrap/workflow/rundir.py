"""A run's folder: whose work it holds, what is finished, and that only one process writes to it."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load, save
from torch import Tensor

from mantrap.errors import MantrapError, OutputError
from mantrap.records.files import write_atomically

_IDENTITY = "run.json"
_WORK = "work"
_LOCK = ".lock"
_DRAFT = re.compile(r"\..+\.part")
"""What a kill in the middle of an atomic write leaves behind."""


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

        A run that one of our errors ends before any piece of its work is finished leaves no trace, so that the next
        one, with the mistake mended, finds the place free.

        Args:
            fresh: Throw away what an earlier run left here: its finished work and the named outputs, nothing else. A
                folder that does not say that it holds such a run is refused all the same.
            outputs: Names of the files that a finished run leaves in the folder.

        Raises:
            OutputError: The folder cannot be written, another process works in it, or it holds something else.
        """
        lock, untouched = self._lock()
        try:
            before = self._known()
            if before is None:
                self._refuse_others()
            elif fresh:
                shutil.rmtree(self.path / _WORK, ignore_errors=True)
                for name in outputs:
                    (self.path / name).unlink(missing_ok=True)
            elif before != self.identity:
                raise OutputError(
                    expected=f"{self.path} to be new or to hold this very run",
                    got=f"the run of another {difference(before, self.identity)}",
                    remedy="Choose another --out, or start over in this one with --fresh.",
                )
            write_atomically(self.path / _IDENTITY, (json.dumps(self.identity, indent=1) + "\n").encode())
            yield self
        except MantrapError:
            if before is None:
                self._withdraw(untouched)
            raise
        finally:
            os.close(lock)

    def _lock(self) -> tuple[int, list[Path]]:
        """The lock's handle, and what was not there before: the folder, those above it, and the lock itself."""
        name = self.path / _LOCK
        try:
            untouched = [p for p in (name, self.path, *self.path.parents) if not p.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(
                expected=f"a folder that can be written at {self.path}",
                got=f"{error.strerror or error}",
                remedy="Choose another --out.",
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have taken the file away between our opening and our locking it.
            if not os.path.samestat(os.fstat(handle), name.stat()):
                raise BlockingIOError
        except OSError as error:
            os.close(handle)
            raise OutputError(
                expected=f"{self.path} for this process alone",
                got="another process that works in it",
                remedy="Wait for the other run, or choose another --out.",
            ) from error
        return handle, untouched

    def _known(self) -> dict[str, Any] | None:
        """What the folder says it holds, or ``None`` where it is no run of this kind."""
        try:
            before = json.loads((self.path / _IDENTITY).read_text())
        except (OSError, ValueError):
            return None
        return before if isinstance(before, dict) and before.get("kind") == self.identity.get("kind") else None

    def _withdraw(self, untouched: list[Path]) -> None:
        """Take away what this run has put here, unless it has finished a piece of work."""
        if self._known() is not None:
            if any(self.path.glob(f"{_WORK}/*/*.safetensors")):
                return
            shutil.rmtree(self.path / _WORK, ignore_errors=True)
            (self.path / _IDENTITY).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody put something there meanwhile
            for path in untouched:
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)

    def _refuse_others(self) -> None:
        others = sorted(p.name for p in self.path.iterdir() if p.name != _LOCK and not _DRAFT.fullmatch(p.name))
        if others:
            raise OutputError(
                expected=f"{self.path} to be new, empty or the folder of this run",
                got=f"a folder that holds {', '.join(others[:3])}",
                remedy="Choose another --out.",
            )

    def work(self, name: str) -> Path:
        """A file among the unfinished work."""
        return self.path / _WORK / name

    def memo(self, name: str) -> "FolderMemo":
        """Where finished pieces of one method are kept."""
        return FolderMemo(self._pieces(name))

    def shared_memo(self, name: str, *, helping: bool) -> "ClaimingMemo":
        """The same where several processes fill it, of which all but one only help."""
        return ClaimingMemo(self._pieces(name), helping=helping)

    def _pieces(self, name: str) -> Path:
        return self.work(hashlib.sha256(name.encode()).hexdigest()[:12])

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
            path.unlink(missing_ok=True)
            return None

    def save(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a key, whole or not at all."""
        write_atomically(
            self.folder / f"{key}.safetensors", save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
        )


class ClaimingMemo(FolderMemo):
    """The same for several processes of this machine that fill it together."""

    def __init__(self, folder: Path, *, helping: bool) -> None:
        super().__init__(folder)
        self.helping = helping

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Whether the piece is ours to make; the system takes the claim back when a process ends, however it does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / f"{key}.claim", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In what two pieces of work differ, in words."""
    return ", ".join(k.replace("_", " ") for k in sorted({*before, *now}) if before.get(k) != now.get(k))
