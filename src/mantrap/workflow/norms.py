"""What the published rule says of the norms of labels; it is reported, and decides nothing."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mantrap.core import Detection
from mantrap.detect.by_norm import PAPER_THRESHOLD
from mantrap.ops.outliers import anomaly_indices, mad, median
from mantrap.records import NormStatistics, Rate


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
        return self.index > PAPER_THRESHOLD


def judge_labels(detection: Detection) -> tuple[Judged, ...]:
    """Every label with a norm, by norm; none where labels were given up and those that were drawn have no norm."""
    found = [(f, f.norm) for f in detection.labels if f.norm is not None]
    if not found:
        return ()
    norms = [norm for _, norm in found]
    usual = _usual({f.label: norm for f, norm in found}, detection.population)
    if not usual:
        return ()
    middle = median(usual)
    judged = [
        Judged(
            label=finding.label,
            norm=norm,
            index=index,
            log_ratio=math.log(middle / norm) if norm > 0 and middle > 0 else 0.0,
            success=finding.success,
        )
        for (finding, norm), index in zip(found, anomaly_indices(norms, usual), strict=True)
    ]
    return tuple(sorted(judged, key=lambda j: (j.norm, j.label)))


def norm_statistics(judged: Sequence[Judged], population: Collection[int] | None = None) -> NormStatistics | None:
    """Median, deviation and the smallest label, for the record; ``None`` where no label has a norm.

    Args:
        judged: Every label with a norm.
        population: Those whose median and deviation count; all where ``None``.
    """
    if not judged:
        return None
    norms = _usual({j.label: j.norm for j in judged}, population)
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


def _usual(norms: Mapping[int, float], population: Collection[int] | None) -> list[float]:
    """The norms with which others are compared."""
    return [norm for label, norm in norms.items() if population is None or label in population]
