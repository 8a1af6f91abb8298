"""What came of a repair, before and after."""

import enum

from mantrap.records.attacks import Difference
from mantrap.records.audit import DataRecord, ModelRecord, Reproduction, StageCost, Verdict, Volatile
from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.shown import Picture, Rate


class Outcome(enum.StrEnum):
    """Whether a model may be called repaired."""

    REPAIRED = "REPAIRED"
    NOT_REPAIRED = "NOT_REPAIRED"


class ReactivationRecord(Record):
    """How fast a trigger comes back in further training with a few poisoned images.

    ``rounds`` is its success on held-out images after each round, ``strange`` the same for variants of it that meant
    nothing to the model before the repair either: in other places, or with its pixels shuffled. ``ahead`` is by how
    much more it works in the mean over rounds than the best of these, and ``remembered`` whether that is more than
    chance explains.
    """

    poisoned: int
    rounds: tuple[Rate, ...]
    strange: tuple[tuple[Rate, ...], ...]
    ahead: float
    remembered: bool


class PruningPoint(Record):
    """What is left where a layer does not hear some of the neurons that it reads.

    ``neurons`` of ``of`` are cut off, those first that triggers excite most. ``success`` is that of the trigger that
    works best then, as strong as the repair asks, ``accuracy`` that on clean images: both on images that the repair
    was given.
    """

    layer: str
    neurons: int
    of: int
    success: Rate
    accuracy: Rate


class TriggerRecord(Record):
    """A recovered trigger before the repair, after it, and after the control; success is on held-out images.

    ``kind`` is what it is, in words, ``size`` how large.
    """

    label: int
    class_name: str
    kind: str
    size: str
    picture: Picture
    before: Rate
    after: Rate
    control: Rate
    reactivation: ReactivationRecord | None


class LeftOutRecord(Record):
    """A recovered trigger that no repair was given, for models without a backdoor have such triggers as well.

    ``chance`` is that some label of such a model needs as little; ``kind`` and ``size`` are in words.
    """

    label: int
    class_name: str
    kind: str
    size: str
    chance: float


class CleanseRecord(Record):
    """The whole answer to "is the model repaired?".

    ``model`` is what came in, ``fixed`` the file that was written, which is what was measured. ``repair`` is the spec,
    ``control`` that of the same effort without a trigger. ``accuracy`` is that of the fixed model beside the one that
    came in, on the same held-out images, ``control_accuracy`` that of the control; ``None`` where images have no
    labels; ``agreement`` is the share that the fixed model answers as the one that came in. ``curve`` is how pruning
    came where it is; empty where nothing was pruned. ``verdict`` and ``audit_headline`` are those of an audit of the
    fixed file, which lies beside it. ``origin`` is what all of this followed from, by which a finished piece of work is
    known again. ``left_out`` are triggers that work and yet were given to nobody.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "cleanse"
    outcome: Outcome
    headline: str
    reasons: tuple[str, ...]
    repair: str
    control: str
    notes: tuple[str, ...]
    triggers: tuple[TriggerRecord, ...]
    curve: tuple[PruningPoint, ...]
    accuracy: Difference | None
    control_accuracy: Difference | None
    agreement: Rate
    verdict: Verdict
    audit_headline: str
    model: ModelRecord
    fixed: str
    fixed_sha256: str
    data: DataRecord
    origin: dict[str, str]
    reproduction: Reproduction
    cost: tuple[StageCost, ...]
    volatile: Volatile
    left_out: tuple[LeftOutRecord, ...] = ()
