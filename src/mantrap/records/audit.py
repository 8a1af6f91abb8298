"""What an audit found: the values behind audit.json and the report."""

import enum
from typing import Final

from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.comparison import ComparisonRecord, ControlRecord, CopyRecord, TraitRecord
from mantrap.records.coverage import CoverageRecord
from mantrap.records.shown import PairRecord, ShiftRecord, SuspectRecord


class Verdict(enum.StrEnum):
    """Outcome of an audit, in order of precedence. There is no "clean": absence of evidence is all that can be said."""

    REFUSED = "REFUSED"
    SUSPICIOUS = "SUSPICIOUS"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_EVIDENCE = "NO_EVIDENCE"


class CheckStatus(enum.StrEnum):
    """How a check of the inputs ended."""

    PASSED = "passed"
    WARNED = "warned"
    SKIPPED = "skipped"


GIVEN_UP: Final = "given up"
"""How the search for a label ended that was stopped early because other labels looked likelier."""


class LabelRecord(Record):
    """What a detector found for one label.

    ``norm`` is the size of the smallest trigger that met the success threshold (of a patch the L1 of its mask, in
    pixels, of a perturbation its L2); ``None`` when the label is ``censored``: none ever met it, or the search was
    ``given up`` after ``steps`` steps, as ``stopped`` says, because other labels looked likelier. ``index`` is the
    signed MAD anomaly index: positive on the low side, for a norm smaller than the median. ``success`` is the share of
    ``heldout`` images of other classes that the trigger sends to the label, with its Wilson interval at 95 %; all
    three ``None`` or 0 where it was not measured.
    """

    label: int
    class_name: str
    norm: float | None
    index: float | None
    success: float | None
    success_interval: tuple[float, float] | None
    heldout: int
    censored: bool
    steps: int
    stopped: str

    @property
    def given_up(self) -> bool:
        """Whether the search ended early because other labels looked likelier."""
        return self.stopped == GIVEN_UP


class NormStatistics(Record):
    """The statistics over the norms of all uncensored labels that the rules use, or of the population of a detection.

    ``log_ratio`` is log(median norm / smallest norm). ``paper_flags`` are the labels that the paper's own rule flags:
    anomaly index above 2 on the low side.
    """

    median: float
    mad: float
    smallest_label: int
    smallest_norm: float
    smallest_index: float | None
    log_ratio: float
    paper_flags: tuple[int, ...]


class DetectionRecord(Record):
    """One detector's answer.

    ``score``: higher is more suspicious; the scale is the detector's own. ``p_value`` is that of the test that the
    method was published with, where it has one; it decides nothing. ``labels`` are those for which a trigger was
    searched, ``traits`` what was measured of each label; ``unit`` says what norms are. Where labels were given up,
    ``population`` are those that were drawn at random and searched to the end, with which all are compared.
    """

    detector: str
    score: float | None
    suspects: tuple[int, ...]
    labels: tuple[LabelRecord, ...]
    statistics: NormStatistics | None
    notes: tuple[str, ...]
    traits: tuple[TraitRecord, ...] = ()
    unit: str = ""
    p_value: float | None = None
    population: tuple[int, ...] | None = None


class CheckRecord(Record):
    """One check of the inputs: what was looked at, how it ended, and what it means."""

    name: str
    status: CheckStatus
    message: str


class ModelRecord(Record):
    """The model that was audited, as it was understood."""

    file_name: str
    sha256: str
    arch: str
    parameters: int
    num_classes: int
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixel_range: tuple[float, float]


class ReferenceRecord(Record):
    """A model of the same task that the model was compared with."""

    file_name: str
    sha256: str


class DataRecord(Record):
    """The clean images that the audit used; ``scan`` and ``heldout`` share no image content."""

    name: str
    digest: str
    images: int
    labelled: bool
    scan_images: int
    scan_digest: str
    heldout_images: int
    heldout_digest: str


class StageCost(Record):
    """Images that went through the model in one stage: forward passes, and forward passes with a backward one."""

    stage: str
    forward: int
    backward: int


class StageTime(Record):
    """Seconds that one stage took, summed over every run that worked on it when an audit was resumed."""

    stage: str
    cpu_seconds: float
    wall_seconds: float


class Reproduction(Record):
    """All it takes to get this record again."""

    command: str
    seed: int
    detectors: tuple[str, ...]
    versions: dict[str, str]


class Volatile(Record):
    """What differs between two runs on the same inputs. Everything outside this block is byte-identical.

    ``workers`` are the processes that searched, the first included; ``stages`` are the seconds of the first one.
    """

    started: str
    model_path: str
    device: str
    threads: int
    workers: int = 1
    machine: str
    stages: tuple[StageTime, ...]


class AuditRecord(Record):
    """The whole answer to "may I deploy this model?".

    ``barring`` are those of the reasons that bar NO_EVIDENCE whatever was found. ``coverage`` says what audits like
    this one found elsewhere, where that was measured. ``copy`` is there where a copy of the model was retrained and
    measured, ``control`` where a known patch was planted in one, ``shift`` where patches were searched that send every
    class to another one, ``pair`` where pairs of classes were scanned.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "audit"
    verdict: Verdict
    verdict_rule: str
    provisional: bool
    headline: str
    reasons: tuple[str, ...]
    barring: tuple[str, ...] = ()
    blind_spots: tuple[str, ...]
    comparison: ComparisonRecord | None = None
    copy: CopyRecord | None = None
    control: ControlRecord | None = None
    coverage: CoverageRecord | None = None
    suspects: tuple[SuspectRecord, ...]
    shift: ShiftRecord | None = None
    pair: PairRecord | None = None
    labels: tuple[LabelRecord, ...]
    detections: tuple[DetectionRecord, ...]
    checks: tuple[CheckRecord, ...]
    model: ModelRecord
    references: tuple[ReferenceRecord, ...] = ()
    data: DataRecord
    reproduction: Reproduction
    cost: tuple[StageCost, ...]
    volatile: Volatile
