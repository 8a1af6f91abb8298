"""Packages that come with an extra only."""

import importlib
from typing import Any

from mantrap.errors import MissingExtraError


def from_extra(extra: str, *modules: str, does: str) -> tuple[Any, ...]:
    """Modules of packages that come with an extra of mantrap.

    Args:
        extra: Its name.
        modules: Full names of the modules; they are of one package, or of several.
        does: What they are for, in words: "which reads and writes Parquet files".

    Raises:
        MissingExtraError: One is not installed.
    """
    try:
        return tuple(map(importlib.import_module, modules))
    except ImportError as error:
        packages = sorted({name.partition(".")[0] for name in modules})
        raise MissingExtraError(
            expected=f"{', '.join(packages)}, {does}",
            got=str(error),
            remedy=f"Run pip install 'mantrap[{extra}]'.",
        ) from error
