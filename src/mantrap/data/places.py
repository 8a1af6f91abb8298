"""Where the named data sets may lie on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from mantrap.errors import MissingDataError

VARIABLE = "MANTRAP_DATA"
CACHE_VARIABLE = "MANTRAP_CACHE_DIR"
SYSTEM = Path("/usr/share/datasets")


def cache() -> Path:
    """The folder for data in the cache: below ``$MANTRAP_CACHE_DIR``, or below the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("mantrap")) / "data"


def places() -> list[Path]:
    """The folders to look in, first ``$MANTRAP_DATA`` where it is set, then the system's, then the cache."""
    own = os.environ.get(VARIABLE)
    return [*([Path(own)] if own else []), SYSTEM, cache()]


def find(name: str, layouts: Sequence[str], source: str) -> Path:
    """The first of several files or folders of a data set that is on this machine.

    Args:
        name: What the data set is called.
        layouts: Paths below one of the places, in order of preference.
        source: Where to get it, in words.

    Raises:
        MissingDataError: None is there; says every place that was looked at, where to get the set and where to put it.
    """
    folders = places()
    for candidate in (folder / layout for folder in folders for layout in layouts):
        if candidate.exists():
            return candidate
    unset = "" if os.environ.get(VARIABLE) else f" ({VARIABLE} is not set)"
    raise MissingDataError(
        expected=f"the data set {name} as {' or '.join(layouts)}",
        got=f"nothing of that in any of {', '.join(map(str, folders))}{unset}",
        remedy=f"Get it from {source}, and put it under such a name into {cache() if unset else folders[0]}, "
        f"or into another folder that {VARIABLE} names.",
    )
