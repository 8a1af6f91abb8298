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
    candidates = [place / layout for place in places() for layout in layouts]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    unset = "" if os.environ.get(VARIABLE) else f" ({VARIABLE} is not set)"
    raise MissingDataError(
        expected=f"the data set {name} on this machine",
        got=f"nothing at any of {', '.join(map(str, candidates))}{unset}",
        remedy=f"Get it from {source}, and put it as {layouts[0]} into {places()[0] if not unset else cache()}, "
        f"or into a folder that {VARIABLE} names.",
    )
