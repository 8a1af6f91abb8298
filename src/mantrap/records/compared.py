"""In what two audits or two grids differ."""

from mantrap.records.base import SCHEMA_VERSION, Record


class SameRecord(Record):
    """Something that two runs began with, and whether it is the same in both."""

    what: str
    same: bool
    first: str
    second: str


class ChangeRecord(Record):
    """Something that was found and that differs; a text is empty where one of the two has nothing there.

    ``about`` groups changes: the verdict, a label, a cell. ``difference`` is second less first where both are shares,
    and ``low`` and ``high`` are the ends of its interval at 95 %.
    """

    about: str
    what: str
    first: str
    second: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def sure(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class ComparedRecord(Record):
    """Two runs side by side: what they began with, and in what their findings differ.

    ``of`` is ``"audits"`` or ``"grids"``. ``findings_same`` says whether there is no change; ``settings`` do not count
    there. ``compared`` are the findings that both have, ``only_first`` and ``only_second`` the names of cells that one
    of them has finished alone.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "compared"
    of: str
    first: str
    second: str
    headline: str
    findings_same: bool
    settings: tuple[SameRecord, ...]
    compared: int
    changes: tuple[ChangeRecord, ...]
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
