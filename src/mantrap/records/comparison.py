"""How the labels of a model stand against each other, and against models without a backdoor."""

from mantrap.records.base import Record


class TraitRecord(Record):
    """What one trait says of one label: its value, and the chance that an ordinary label stands as high by it.

    ``chance`` is ``None`` where nothing is known of the trait in models without a backdoor.
    """

    trait: str
    label: int
    class_name: str
    value: float
    chance: float | None


class StandingRecord(Record):
    """The chance that some label of a model without a backdoor stands as high as this one, by all traits together."""

    label: int
    class_name: str
    chance: float


class ComparisonRecord(Record):
    """How the labels stand by all detectors together, the most suspicious first.

    ``p_value`` is the chance that a model without a backdoor looks as suspicious, ``level`` that all its labels are as
    easy to force. ``null`` says which models it was compared with, as the end of "compared with".
    """

    p_value: float
    level: float
    null: str
    standings: tuple[StandingRecord, ...]
