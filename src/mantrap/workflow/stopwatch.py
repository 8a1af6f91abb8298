"""Seconds by stage, carried over when a killed run goes on."""

import datetime as dt
import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mantrap.records import StageTime, Volatile
from mantrap.records.files import write_atomically


class Stopwatch:
    """Measures CPU and wall seconds of named stages.

    Args:
        path: File that keeps the seconds, so that those of a run before count as well; ``None`` keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self._seconds: dict[str, tuple[float, float]] = {}
        if path is not None and path.exists():
            try:
                self._seconds = {str(k): (float(v[0]), float(v[1])) for k, v in json.loads(path.read_text()).items()}
            except (ValueError, AttributeError, TypeError, IndexError):
                self._seconds = {}
        self._open: tuple[str, float, float, tuple[float, float]] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside; the same name adds up."""
        self._open = (name, time.process_time(), time.perf_counter(), self._seconds.get(name, (0.0, 0.0)))
        try:
            yield
        finally:
            self.lap()
            self._open = None

    def lap(self) -> None:
        """Write down what the open stage has taken so far."""
        if self._open is not None:
            name, cpu, wall, before = self._open
            self._seconds[name] = (before[0] + time.process_time() - cpu, before[1] + time.perf_counter() - wall)
        if self._path is not None:
            write_atomically(self._path, json.dumps(self._seconds).encode())

    def times(self) -> tuple[StageTime, ...]:
        """Seconds of every stage, in the order in which they began."""
        return tuple(
            StageTime(stage=name, cpu_seconds=round(cpu, 3), wall_seconds=round(wall, 3))
            for name, (cpu, wall) in self._seconds.items()
        )

    def volatile(self, model_path: str, device: torch.device, *, workers: int = 1) -> Volatile:
        """When and where the work was done, and how long its stages took.

        Args:
            model_path: Where the model was read from.
            device: What it was on.
            workers: Processes that worked on it, this one included.
        """
        return Volatile(
            started=self._started,
            model_path=model_path,
            device=str(device),
            threads=torch.get_num_threads(),
            workers=workers,
            machine=f"{platform.system()} {platform.machine()}",
            stages=self.times(),
        )
