"""Where the parity run keeps things, and how it says how far it is."""

import sys
import time
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


class Lines:
    """Progress as lines of a log."""

    def __init__(self, name: str) -> None:
        self.name, self.done, self.said = name, 0.0, 0.0

    def stage(self, name: str, total: float) -> "Lines":
        """Begin a stage."""
        self.what, self.total, self.done = name, total, 0.0
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Say how far it is, at most every 20 seconds."""
        self.done += amount
        if time.monotonic() - self.said > 20:
            self.said = time.monotonic()
            print(f"{self.name}: {self.what} {self.done:.1f}/{self.total:g} {note}", file=sys.stderr, flush=True)
