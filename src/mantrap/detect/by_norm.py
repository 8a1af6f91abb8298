"""What searches for the smallest patch of each label have in common: which labels, and what their norms say."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from mantrap.core import Classifier, Cost, Detection, ImageSet, LabelFinding, ReversedTrigger, Rng
from mantrap.detect.heldout import measure_triggers
from mantrap.errors import UsageError
from mantrap.ops.outliers import anomaly_indices
from mantrap.ops.standing_out import chance_of_largest

PAPER_THRESHOLD = 2.0
"""Anomaly index above which the paper calls a label infected."""

BLIND_SPOTS = (
    "Backdoors that react to some classes only, or that send every class to another one.",
    "Triggers that cover much of the image, or that warp, blend or change from image to image.",
)


_SMALLEST = 1e-3
"""Norms below this, a thousandth of a pixel, are alike."""


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


@dataclass(frozen=True, eq=False)
class Found:
    """What a search for patches came to.

    Args:
        labels: What was found out about each label.
        triggers: The triggers that are kept.
        cost: Images that it took.
        notes: What the reader must know.
    """

    labels: tuple[LabelFinding, ...]
    triggers: tuple[ReversedTrigger, ...]
    cost: Cost
    notes: tuple[str, ...] = ()


def norm_detection(detector: str, model: Classifier, found: Found, *, heldout: ImageSet, rng: Rng) -> Detection:
    """The answer of a detector that compares the norms of labels.

    Its p-value is that of the largest reciprocal of a norm, as in Xiang, Miller and Kesidis, Detection of backdoors in
    trained classifiers without access to the training set, IEEE TNNLS 2022; see :func:`chance_of_largest`.

    Args:
        detector: Its spec.
        model: The classifier.
        found: What its search came to.
        heldout: Images that it has not seen, to measure the success of triggers on.
        rng: Source of the samples that the smallest norm is compared with.
    """
    rates, cost = measure_triggers(model, heldout, found.triggers)
    norms = {f.label: f.norm for f in found.labels if f.norm is not None}
    indices = dict(zip(norms, anomaly_indices(list(norms.values())), strict=True)) if norms else {}
    suspects = sorted((t for t, index in indices.items() if index > PAPER_THRESHOLD), key=lambda t: norms[t])
    return Detection(
        detector=detector,
        num_classes=model.num_classes,
        labels=tuple(dataclasses.replace(f, success=rates.get(f.label)) for f in found.labels),
        triggers=tuple(sorted(found.triggers, key=lambda t: norms[t.target])),
        suspects=tuple(suspects),
        score=max(indices.values()) if indices else None,
        p_value=chance_of_largest(
            [1 / max(norm, _SMALLEST) for norm in norms.values()], rng, left_out=len(found.labels) - len(norms)
        ),
        indices=indices,
        cost=found.cost + cost,
        notes=found.notes,
        blind_spots=BLIND_SPOTS,
    )
