"""What searches for the smallest trigger of each label have in common: which labels, and what their sizes say."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mantrap.core import Classifier, Cost, Detection, ImageSet, LabelFinding, ReversedTrigger
from mantrap.detect.blind_spots import CHANGING, NOT_ALL_TO_ONE, SPREAD, WARPING
from mantrap.detect.heldout import measure_triggers
from mantrap.errors import UsageError
from mantrap.ops.outliers import anomaly_indices
from mantrap.records.traits import PATCH

PAPER_THRESHOLD = 2.0
"""Anomaly index above which the paper calls a label infected."""

PATCH_BLIND_SPOTS: Final = (*NOT_ALL_TO_ONE, SPREAD, WARPING, CHANGING)
SMALLEST: Final = 1e-3
"""Norms below this, a thousandth of a pixel, are alike."""
PATCH_UNIT: Final = "L1 of the smallest mask that worked, in pixels"
PERTURBATION_UNIT: Final = "L2 of the faintest change of all pixels that worked, in ranges of a pixel"


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
    """What a search for triggers came to.

    Args:
        labels: What was found out about each label.
        triggers: The triggers that are kept.
        cost: Images that it took.
        notes: What the reader must know.
        missed: Labels that were not reached for want of time.
        population: Those labels that were drawn at random and searched to the end, where others were given up.
    """

    labels: tuple[LabelFinding, ...]
    triggers: tuple[ReversedTrigger, ...]
    cost: Cost
    notes: tuple[str, ...] = ()
    missed: int = 0
    population: tuple[int, ...] | None = None


def patch_traits(norms: Mapping[int, float], shape: tuple[int, int, int]) -> dict[str, dict[int, float]]:
    """The share of an image [c, h, w] that each label's patch covers, from the L1 of its mask."""
    return {PATCH.name: {label: max(norm, SMALLEST) / (shape[1] * shape[2]) for label, norm in norms.items()}}


def norm_detection(
    detector: str,
    model: Classifier,
    found: Found,
    *,
    heldout: ImageSet,
    unit: str,
    traits: Mapping[str, Mapping[int, float]],
    blind_spots: tuple[str, ...],
) -> Detection:
    """The answer of a detector that compares the norms of labels.

    Args:
        detector: Its spec.
        model: The classifier.
        found: What its search came to.
        heldout: Images that it has not seen, to measure the success of triggers on.
        unit: What the norms are, in words.
        traits: What the norms say of each label.
        blind_spots: What the detector cannot see.
    """
    rates, cost = measure_triggers(model, heldout, found.triggers)
    norms = {f.label: f.norm for f in found.labels if f.norm is not None}
    usual = [norms[t] for t in (norms if found.population is None else found.population) if t in norms]
    indices = dict(zip(norms, anomaly_indices(list(norms.values()), usual), strict=True)) if usual else {}
    suspects = sorted((t for t, index in indices.items() if index > PAPER_THRESHOLD), key=lambda t: norms[t])
    return Detection(
        detector=detector,
        num_classes=model.num_classes,
        labels=tuple(dataclasses.replace(f, success=rates.get(f.label)) for f in found.labels),
        triggers=tuple(sorted(found.triggers, key=lambda t: norms[t.target])),
        suspects=tuple(suspects),
        score=max(indices.values()) if indices else None,
        indices=indices,
        cost=found.cost + cost,
        notes=found.notes,
        blind_spots=blind_spots,
        traits=traits,
        unit=unit,
        missed=found.missed,
        population=found.population,
    )
