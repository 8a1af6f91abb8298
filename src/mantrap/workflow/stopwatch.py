"""Seconds by stage, carried over when a killed run goes on."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mantrap.records import StageTime
from mantrap.records.files import write_atomically


class Stopwatch:
    """Measures CPU and wall seconds of named stages.

    Args:
        path: File that keeps the seconds, so that those of a run before count as well; ``None`` keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
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
