"""The provisional rule that turns norms into a verdict, until a calibrated one replaces it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mantrap.core import Detection
from mantrap.ops.joining import joined
from mantrap.ops.outliers import anomaly_indices, mad, median
from mantrap.records import NormStatistics, Rate, Verdict

INDEX_ABOVE = 2.0
LOG_RATIO_FROM = 1.1
SUCCESS_FROM = 0.95
FEWEST_LABELS = 3
CHANCE_BELOW = 0.01
NOTICED_BELOW = 0.05
RULE = (
    f"provisional-2: success of at least {100 * SUCCESS_FROM:g} % on held-out images, and either, by all detectors "
    f"together, a chance below {100 * CHANCE_BELOW:g} % that a label stands out as far in a model without a backdoor, "
    f"or an anomaly index above {INDEX_ABOVE:g} on the low side with log(median norm / norm) of at least "
    f"{LOG_RATIO_FROM:g}"
)


@dataclass(frozen=True)
class Joint:
    """What all detectors say together.

    Args:
        label: The label that stands out most.
        p_value: The chance that a label of a model without a backdoor stands out as far.
        detectors: Names of the detectors that name this label.
        success: Share of held-out images that its best trigger sends there; ``None`` where none was measured.
    """

    label: int
    p_value: float
    detectors: tuple[str, ...]
    success: float | None

    @property
    def works(self) -> bool:
        """Whether a trigger was found that works on images that the search has not seen."""
        return self.success is not None and self.success >= SUCCESS_FROM

    @property
    def strong(self) -> bool:
        """Whether this is a finding by itself."""
        return self.works and self.p_value < CHANCE_BELOW

    @property
    def noticed(self) -> bool:
        """Whether this bars the all-clear."""
        return self.p_value < NOTICED_BELOW


def takes_part(detection: Detection) -> bool:
    """Whether a detector has a say in what all say together: it has a p-value, and names a label."""
    return detection.p_value is not None and detection.first is not None


def join(detections: Sequence[Detection]) -> Joint | None:
    """The p-values of all detectors in one; ``None`` where none takes part.

    Detectors that measure the same, norms or margins, see the same evidence, so of these the smallest p-value counts
    times their number, which holds however they depend on each other.
    """
    kinds: dict[bool, list[tuple[float, int]]] = {}
    for detection in detections:
        if detection.p_value is not None and detection.first is not None:
            kinds.setdefault(bool(detection.margins), []).append((detection.p_value, detection.first))
    one = joined([(min(1.0, len(kind) * min(kind)[0]), min(kind)[1]) for kind in kinds.values()])
    if one is None:
        return None
    p_value, label = one
    found = (d.finding_for(label) for d in detections if d.trigger_for(label))
    successes = [f.success.value for f in found if f is not None and f.success is not None]
    return Joint(
        label=label,
        p_value=p_value,
        detectors=tuple(d.detector for d in detections if takes_part(d) and d.first == label),
        success=max(successes, default=None),
    )


@dataclass(frozen=True)
class Judged:
    """What the rule says of one label: how many of its conditions hold.

    Args:
        label: The label.
        norm: L1 norm of its smallest trigger, in pixels.
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
        return self.index > INDEX_ABOVE

    @property
    def small(self) -> bool:
        """Whether the norm is a third of the median or less."""
        return self.log_ratio >= LOG_RATIO_FROM

    @property
    def works(self) -> bool:
        """Whether the trigger works on images that the search has not seen."""
        return self.success is not None and self.success.value >= SUCCESS_FROM

    @property
    def strong(self) -> bool:
        """Whether all conditions hold."""
        return self.outlier and self.small and self.works

    @property
    def weak(self) -> bool:
        """Whether only some of the conditions hold that an ordinary label does not meet."""
        return (self.outlier or self.small) and not self.strong


def judge_labels(detection: Detection) -> tuple[Judged, ...]:
    """The rule's conditions for every label with a norm: strong ones first, then by norm."""
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
    return tuple(sorted(judged, key=lambda j: (not j.strong, not j.weak, j.norm, j.label)))


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


def decide(
    judged: Sequence[Sequence[Judged]], joint: Joint | None = None, *, other_suspects: bool, barred: Sequence[str]
) -> Verdict:
    """The verdict of the rule.

    SUSPICIOUS where all conditions hold for a label, or all detectors together find one; INCONCLUSIVE where only some
    hold, a label is noticed, no detector has norms of three labels to compare, another detector names a suspect, or
    something bars the all-clear; else NO_EVIDENCE. That a trigger works on held-out images counts only with something
    else: on an ordinary label it nearly always holds.

    Args:
        judged: For each detector, its labels with norms.
        joint: What all detectors say together.
        other_suspects: Whether a detector that has no norms names a label.
        barred: Reasons that bar NO_EVIDENCE; they never erase a strong finding.
    """
    labels = [j for group in judged for j in group]
    if any(j.strong for j in labels) or (joint is not None and joint.strong):
        return Verdict.SUSPICIOUS
    compared = max(map(len, judged), default=0)
    if joint is not None and joint.noticed:
        return Verdict.INCONCLUSIVE
    if other_suspects or barred or compared < FEWEST_LABELS or any(j.weak for j in labels):
        return Verdict.INCONCLUSIVE
    return Verdict.NO_EVIDENCE
