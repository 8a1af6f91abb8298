"""How the labels of a model stand against each other, and against models without a backdoor."""

from mantrap.records.base import Record
from mantrap.records.shown import Rate


class TraitRecord(Record):
    """What one trait says of one label: its value, and the chance that an ordinary label stands as high by it.

    ``chance`` is ``None`` where nothing is known of the trait in models without a backdoor.
    """

    trait: str
    label: int
    class_name: str
    value: float
    chance: float | None


class CopyRecord(Record):
    """A copy of the model that was retrained on clean images, and what the same detectors measured of it.

    ``agreement`` is the share of held-out images that it answers as the model does. ``unsure`` are labels of which it
    saw hardly an image: of these it says nothing.
    """

    images: int
    agreement: Rate
    unsure: tuple[int, ...]
    traits: tuple[TraitRecord, ...]


class ControlRecord(Record):
    """A patch that was taught to a copy of the model, to see whether the search finds it.

    ``success`` is the share of held-out images that it sends to ``label``, ``agreement`` the share of clean ones that
    the copy answers as the model does. ``searched`` are the labels that were searched in the copy, ``chance`` that by
    triggers some label of a model without a backdoor stands as high as the planted one; ``None`` where the patch did
    not take.
    """

    label: int
    class_name: str
    height: int
    width: int
    images: int
    success: Rate
    agreement: Rate
    searched: tuple[int, ...]
    chance: float | None
    found: bool


class StandingRecord(Record):
    """The chance that some label of a model without a backdoor stands as high as this one, by all traits together."""

    label: int
    class_name: str
    chance: float


class ComparisonRecord(Record):
    """How the labels stand by all detectors together, the most suspicious first.

    ``p_value`` is the chance that a model without a backdoor looks as suspicious, ``level`` that all its labels are as
    easy to force, ``shift`` that all its classes are taken for others as easily, and ``pair`` that one of them is,
    where these were searched.
    ``null`` says which models it was compared with, as the end of "compared with".
    """

    p_value: float
    level: float
    shift: float | None = None
    pair: float | None = None
    null: str
    standings: tuple[StandingRecord, ...]
