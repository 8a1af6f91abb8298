"""How often audits found what was planted, and how often they were wrong."""

from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.shown import Rate


class FamilyRecord(Record):
    """What audits said of models with one kind of backdoor, or of clean ones where ``family`` is ``"clean"``.

    ``found`` is the share that was called SUSPICIOUS, ``noticed`` the share that was at least INCONCLUSIVE.
    """

    family: str
    title: str
    found: Rate
    noticed: Rate


class CoverageRecord(Record):
    """What audits with the same detectors and the same rule found among models that were made to be found out.

    ``of`` says what models these were, as the end of "measured on". ``with_pairs`` are the families of which something
    else is known where pairs of classes are scanned as well.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "coverage"
    rule: str
    detectors: tuple[str, ...]
    of: str
    families: tuple[FamilyRecord, ...]
    with_pairs: tuple[FamilyRecord, ...] = ()
