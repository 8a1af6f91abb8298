"""Where a method keeps finished pieces of work, so that a killed run can go on."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Memo(Protocol):
    """Finished pieces of work by name. What is loaded is bitwise what was saved."""

    def load(self, key: str) -> dict[str, Tensor] | None:
        """The tensors saved under this key, or ``None``."""

    def save(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a key, all or nothing."""


class _Forgetful:
    def load(self, key: str) -> dict[str, Tensor] | None:
        del key
        return None

    def save(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        del key, tensors


FORGETFUL: Memo = _Forgetful()
"""The memo that keeps nothing."""
