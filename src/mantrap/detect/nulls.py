"""What is known of models without a backdoor, learned from many that were trained for it."""

import functools
from importlib import resources

from mantrap.records import Nulls

FILE = "nulls.json"


@functools.cache
def known_nulls() -> Nulls:
    """The table that comes with the package; ``benchmarks/null.py`` makes it."""
    return Nulls.from_json(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))
