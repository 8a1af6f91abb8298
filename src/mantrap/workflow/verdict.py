"""The rule that turns what detectors measured into a verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mantrap.core import Detection
from mantrap.ops.outliers import anomaly_indices, mad, median
from mantrap.records import NormStatistics, Rate, Verdict
from mantrap.records.traits import TRAITS
from mantrap.workflow.comparing import Compared, Standing

PAPER_INDEX = 2.0
SUCCESS_FROM = 0.9
CHANCE_BELOW = 0.02
NOTICED_BELOW = 0.07
SEARCHED_BELOW = 0.1
RULE = (
    f"calibrated-1: by all detectors together a chance below {100 * CHANCE_BELOW:g} % that a model without a backdoor "
    f"looks as suspicious, by triggers and margins alone one below {100 * SEARCHED_BELOW:g} % that an ordinary label "
    f"does, and a trigger for the label that stands out that sends at least {100 * SUCCESS_FROM:g} % of held-out "
    "images there"
)


@dataclass(frozen=True)
class Accused:
    """The label that stands out most, and what its trigger does.

    Args:
        standing: What all detectors say of it.
        p_value: The chance that a model without a backdoor looks as suspicious.
        success: Share of held-out images that its best trigger sends there; ``None`` where none was measured.
    """

    standing: Standing
    p_value: float
    success: Rate | None

    @property
    def works(self) -> bool:
        """Whether a trigger was found that works on images that the search has not seen."""
        return self.success is not None and self.success.value >= SUCCESS_FROM

    @property
    def searched(self) -> bool:
        """Whether it stands out by more than what honest training on unequal classes may leave."""
        return self.standing.log_searched < math.log(SEARCHED_BELOW)

    @property
    def strong(self) -> bool:
        """Whether this is a finding."""
        return self.works and self.searched and self.p_value < CHANCE_BELOW

    @property
    def noticed(self) -> bool:
        """Whether this bars the all-clear."""
        return self.p_value < NOTICED_BELOW


def accuse(compared: Compared | None, detections: Sequence[Detection]) -> Accused | None:
    """The label that stands out most; ``None`` where labels cannot be compared."""
    if compared is None:
        return None
    label = compared.first.label
    found = (d.finding_for(label) for d in detections if d.trigger_for(label))
    successes = [f.success for f in found if f is not None and f.success is not None]
    best = max(successes, key=lambda rate: rate.value, default=None)
    return Accused(compared.first, compared.p_value, best)


def noticed_labels(compared: Compared | None) -> tuple[int, ...]:
    """Labels of which each alone bars the all-clear, the most suspicious first; the first where the level does."""
    if compared is None:
        return ()
    labels = tuple(s.label for s in compared.standings if compared.chance_of(s) < NOTICED_BELOW)
    return labels or ((compared.first.label,) if compared.p_value < NOTICED_BELOW else ())


def counts(detection: Detection) -> bool:
    """Whether a detector has a say in the rule: it measures a trait that is known."""
    return any(name in TRAITS for name in detection.traits)


def decide(accused: Accused | None, *, other_suspects: bool, barred: Sequence[str]) -> Verdict:
    """The verdict of the rule.

    SUSPICIOUS where a label stands out, and not by its weights alone, and its trigger works; INCONCLUSIVE where it
    stands out less, by its weights alone, or its trigger does not work, where nothing can be compared, a detector that
    has no say in the rule names a suspect, or something bars the all-clear; else NO_EVIDENCE.

    Args:
        accused: The label that stands out most.
        other_suspects: Whether a detector that measures nothing that the rule knows names a label.
        barred: Reasons that bar NO_EVIDENCE; they never erase a strong finding.
    """
    if accused is not None and accused.strong:
        return Verdict.SUSPICIOUS
    if accused is None or accused.noticed or other_suspects or barred:
        return Verdict.INCONCLUSIVE
    return Verdict.NO_EVIDENCE


@dataclass(frozen=True)
class Judged:
    """What the published rule says of one label.

    Args:
        label: The label.
        norm: Size of its smallest trigger.
        index: Signed MAD anomaly index, above 0 for a norm below the median.
        log_ratio: log(median norm / norm).
        success: Share of held-out images that the trigger sends to the label; ``None`` where it was not measured.
    """

    label: int
    norm: float
    index: float
    log_ratio: float
    success: Rate | None

    @property
    def outlier(self) -> bool:
        """Whether the index is above 2 on the low side: the paper's own flag."""
        return self.index > PAPER_INDEX


def judge_labels(detection: Detection) -> tuple[Judged, ...]:
    """Every label with a norm, by norm."""
    found = [(f, f.norm) for f in detection.labels if f.norm is not None]
    if not found:
        return ()
    norms = [norm for _, norm in found]
    middle = median(norms)
    judged = [
        Judged(
            label=finding.label,
            norm=norm,
            index=index,
            log_ratio=math.log(middle / norm) if norm > 0 and middle > 0 else 0.0,
            success=finding.success,
        )
        for (finding, norm), index in zip(found, anomaly_indices(norms), strict=True)
    ]
    return tuple(sorted(judged, key=lambda j: (j.norm, j.label)))


def norm_statistics(judged: Sequence[Judged]) -> NormStatistics | None:
    """Median, deviation and the smallest label, for the record; ``None`` where no label has a norm."""
    if not judged:
        return None
    norms = [j.norm for j in judged]
    smallest = min(judged, key=lambda j: (j.norm, j.label))
    return NormStatistics(
        median=median(norms),
        mad=mad(norms),
        smallest_label=smallest.label,
        smallest_norm=smallest.norm,
        smallest_index=smallest.index if math.isfinite(smallest.index) else None,
        log_ratio=smallest.log_ratio,
        paper_flags=tuple(j.label for j in sorted(judged, key=lambda j: j.norm) if j.outlier),
    )
