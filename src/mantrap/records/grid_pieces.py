"""What a grid keeps of its work until the whole of it is put together."""

from mantrap.records.attacks import AttackMeasure, Difference
from mantrap.records.audit import StageCost
from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.grid import GridDetected, GridGuarded, GridRepaired, GridScreened
from mantrap.records.shown import Rate


class GridPiece(Record):
    """A finished piece of a grid's work, as it is kept: a model, what was measured of it, or what a defence came to.

    ``key`` is the digest of all that it depends on, ``what`` is in words what it is. Of a model ``sha256`` is the
    digest of its file. ``failure`` says how a piece failed, ``untried`` why nothing could be done.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "grid_piece"
    key: str
    what: str
    failure: str = ""
    untried: str = ""
    sha256: str = ""
    accuracy: Rate | None = None
    comparison: Difference | None = None
    measures: tuple[AttackMeasure, ...] = ()
    detected: GridDetected | None = None
    guarded: GridGuarded | None = None
    repaired: GridRepaired | None = None
    screened: GridScreened | None = None
    cost: tuple[StageCost, ...] = ()
    cpu_seconds: float = 0.0
