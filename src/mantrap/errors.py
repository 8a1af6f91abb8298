"""Every error a user can meet, and what it means for the exit code.

::

    MantrapError
    ├── UsageError (ValueError)        what was asked cannot be done: exit code 2
    │   ├── SpecError                  a spec string that does not parse, an unknown name or option
    │   ├── MissingExtraError (ImportError)   an optional dependency that is not installed
    │   ├── OutputError (OSError)      a place that cannot be written, or that holds other work
    │   └── MissingDataError (FileNotFoundError)   a named data set, or a file, that is not there
    ├── RefusedError (ValueError)      the input cannot be read or trusted: exit code 4
    │   ├── DataError                  images or labels
    │   ├── ModelError                 a model file, its weights or its outputs
    │   └── RecordError                a saved record
    └── FailedError (RuntimeError)     the work itself broke down: exit code 5

Each says what was expected, what came instead, and what to do about it.
"""

from typing import ClassVar


class MantrapError(Exception):
    """Root of the tree.

    Args:
        expected: What would have been right.
        got: What came instead, with the value and the field.
        remedy: What the user can do now, as an imperative sentence.
    """

    exit_code: ClassVar[int] = 5

    def __init__(self, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected {expected}, got {got}. {remedy}")
        self.expected, self.got, self.remedy = expected, got, remedy

    def __str__(self) -> str:
        return f"expected {self.expected}, got {self.got}. {self.remedy}"


class UsageError(MantrapError, ValueError):
    """What was asked cannot be done as asked."""

    exit_code = 2


class SpecError(UsageError):
    """A spec string does not parse, or names something that is not there."""


class MissingExtraError(UsageError, ImportError):
    """An optional dependency is needed that is not installed."""


class OutputError(UsageError, OSError):
    """An output place cannot be written, or holds the work of another run."""


class MissingDataError(UsageError, FileNotFoundError):
    """A named data set or a file is nowhere to be found."""


class RefusedError(MantrapError, ValueError):
    """An input cannot be read or cannot be trusted."""

    exit_code = 4


class DataError(RefusedError):
    """Images or labels are unreadable, or do not fit each other or the model."""


class ModelError(RefusedError):
    """A model file, its weights or its outputs are not what an audit can rest on."""


class RecordError(RefusedError):
    """A saved record is broken or of an unknown schema version."""


class FailedError(MantrapError, RuntimeError):
    """The work itself broke down, for example a training that diverged."""
