"""Where the benchmarks keep things, how they say how far they are, and how a table comes into a page."""

import argparse
import sys
import time
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def put(page: Path, name: str, text: str) -> None:
    """Put a text between its marks in a page, or at its end where it has no such marks."""
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def asked(what: str | None, page: str) -> argparse.Namespace:
    """What the command line of a benchmark with a table of its own asks for: ``only`` and ``table``."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="shell pattern of cell names")
    parser.add_argument("--table", action="store_true", help=f"only write {page}")
    return parser.parse_args()


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
