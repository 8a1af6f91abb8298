"""What is known of models without a backdoor, and of audits of models with one, measured on many made for it."""

import functools
from importlib import resources

from mantrap.records import CoverageRecord, Nulls

FILE, COVERAGE_FILE = "nulls.json", "coverage.json"


@functools.cache
def known_nulls() -> Nulls:
    """The table that comes with the package; ``benchmarks/null.py`` makes it."""
    return Nulls.from_json(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))


@functools.cache
def known_coverage() -> CoverageRecord:
    """What default audits find; ``benchmarks/detection.py`` writes it from the test split."""
    return CoverageRecord.from_json(resources.files(__package__).joinpath(COVERAGE_FILE).read_text(encoding="utf-8"))
