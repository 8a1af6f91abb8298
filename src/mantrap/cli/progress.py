"""Progress on stderr: a bar with the time left where somebody watches, nothing otherwise."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mantrap.core import Progress, Stage


def watching(*, quiet: bool) -> "Progress":
    """The observer for a run: a bar on a terminal, silence when asked for or when stderr is no terminal."""
    from mantrap.core import SILENT  # noqa: PLC0415 - torch

    return SILENT if quiet or not sys.stderr.isatty() else Bars()


class Bars:
    """One bar for each stage, with what is being worked on and the time left."""

    @contextmanager
    def stage(self, name: str, total: float) -> Iterator["Stage"]:
        """Show a bar until the stage ends."""
        from rich.console import Console  # noqa: PLC0415 - start-up
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.3g}/{task.total:.3g}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(name, total=total, note="")

            class _Bar:
                def advance(self, amount: float = 1, note: str = "") -> None:
                    bars.update(task, advance=amount, note=note)

            yield _Bar()
