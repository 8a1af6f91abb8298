"""What searches for the smallest patch of each label have in common: which labels, and what their norms say."""

import dataclasses
from collections.abc import Mapping, Sequence

from mantrap.core import Classifier, Cost, Detection, LabelFinding, ReversedTrigger
from mantrap.errors import UsageError
from mantrap.ops.outliers import anomaly_indices
from mantrap.records import Rate

PAPER_THRESHOLD = 2.0
"""Anomaly index above which the paper calls a label infected."""

BLIND_SPOTS = (
    "Backdoors that react to some classes only, or that send every class to another one.",
    "Triggers that cover much of the image, or that warp, blend or change from image to image.",
)


def targets_of(model: Classifier, labels: Sequence[int] | None) -> tuple[int, ...]:
    """The labels to search for: those that were asked for, or all.

    Raises:
        UsageError: A label that the model does not have.
    """
    if labels is None:
        return tuple(range(model.num_classes))
    wrong = [t for t in labels if not 0 <= t < model.num_classes]
    if wrong:
        raise UsageError(
            expected=f"labels from 0 to {model.num_classes - 1}",
            got=f"{wrong}",
            remedy="Scan labels that the model has.",
        )
    return tuple(labels)


def norm_detection(
    detector: str,
    model: Classifier,
    labels: Sequence[LabelFinding],
    triggers: Sequence[ReversedTrigger],
    rates: Mapping[int, Rate],
    *,
    cost: Cost,
    notes: Sequence[str] = (),
) -> Detection:
    """The answer of a detector that compares the norms of labels.

    Args:
        detector: Its spec.
        model: The classifier.
        labels: What was found out about each label.
        triggers: The triggers that are kept.
        rates: Their success on held-out images, by label.
        cost: What it all cost.
        notes: What the reader must know.
    """
    norms = {f.label: f.norm for f in labels if f.norm is not None}
    indices = dict(zip(norms, anomaly_indices(list(norms.values())), strict=True)) if norms else {}
    suspects = sorted((t for t, index in indices.items() if index > PAPER_THRESHOLD), key=lambda t: norms[t])
    return Detection(
        detector=detector,
        num_classes=model.num_classes,
        labels=tuple(dataclasses.replace(f, success=rates.get(f.label)) for f in labels),
        triggers=tuple(sorted(triggers, key=lambda t: norms[t.target])),
        suspects=tuple(suspects),
        score=max(indices.values()) if indices else None,
        indices=indices,
        cost=cost,
        notes=tuple(notes),
        blind_spots=BLIND_SPOTS,
    )
