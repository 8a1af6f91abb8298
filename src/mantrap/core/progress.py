"""How long work tells whoever waits for it: an observer with a silent default."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable


class OutOfTime(Exception):  # noqa: N818 - no error: what is finished counts
    """An observer asks to stop: what is finished counts, and the rest is left undone."""


@runtime_checkable
class Stage(Protocol):
    """One stretch of work that counts up to a total."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Say that ``amount`` more of the total is done, and what the work is at.

        Raises:
            OutOfTime: The observer has waited long enough.
        """


@runtime_checkable
class Progress(Protocol):
    """An observer of long work."""

    def stage(self, name: str, total: float) -> AbstractContextManager[Stage]:
        """Begin a stage of ``total`` units; leaving the context ends it."""


class _Silence:
    def advance(self, amount: float = 1, note: str = "") -> None:
        del amount, note

    @contextmanager
    def stage(self, name: str, total: float) -> Iterator[Stage]:
        del name, total
        yield self


SILENT: Progress = _Silence()
"""The observer that says nothing."""
