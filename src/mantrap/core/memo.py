"""Where a method keeps finished pieces of work, so that a killed run can go on."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Memo(Protocol):
    """Finished pieces of work by name. What is loaded is bitwise what was saved."""

    def load(self, key: str) -> dict[str, Tensor] | None:
        """The tensors saved under this key, or ``None``."""

    def save(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a key, all or nothing."""


@runtime_checkable
class SharedMemo(Memo, Protocol):
    """A memo that several processes fill together, each with pieces that no other is at."""

    helping: bool
    """Whether this process only helps: it makes pieces, and another one makes something of them."""

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Whether the piece of this key is ours to make; if so, nobody else is at it inside.

        A process that dies gives back what it has claimed.
        """


class Elsewhere(Exception):  # noqa: N818 - no error: a helper has done what there was to do
    """What is left of a piece of work is for another process."""


class _Forgetful:
    def load(self, key: str) -> dict[str, Tensor] | None:
        del key
        return None

    def save(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        del key, tensors


FORGETFUL: Memo = _Forgetful()
"""The memo that keeps nothing."""
