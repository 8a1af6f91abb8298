"""Is one class taken for another more easily than in a copy of the model, and does a trigger do it?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from mantrap.core import Classifier, Cost, Detection, ImageSet, Pair, ReversedPatch
from mantrap.detect.blind_spots import SOME_CLASSES
from mantrap.detect.heldout import strong_enough
from mantrap.ops.intervals import wilson
from mantrap.ops.pairs import PairStanding, pair_standings
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import predictions, predictions_under
from mantrap.records import Rate
from mantrap.workflow.verdict import CHANCE_BELOW, PAIR_SHARE, PAIR_WORKS_FROM

_SHARE, _AT_ONCE, _TESTED = 0.99, 32, 200


@dataclass(frozen=True)
class Paired:
    """The pair of classes that stands out, and what its patch does.

    Args:
        standings: How all pairs stand, the most suspicious first.
        detector: Who has searched them.
        patch: The pair's patch, made strong enough; ``None`` where none worked.
        success: Of held-out images of the source, which share it sends to the target; ``None`` where there is none.
        others: The same of all other classes.
    """

    standings: tuple[PairStanding, ...]
    detector: str
    patch: ReversedPatch | None = None
    success: Rate | None = None
    others: Rate | None = None

    @property
    def first(self) -> PairStanding:
        """The pair that stands out most."""
        return self.standings[0]

    def alone(self, standing: PairStanding) -> float:
        """The chance that some pair of a model without a backdoor stands as far out."""
        return min(1.0, -math.expm1(len(self.standings) * math.log1p(-math.exp(min(standing.log_chance, -1e-12)))))

    @property
    def chance(self) -> float:
        """The chance that a model without a backdoor looks as suspicious by its pairs."""
        return min(1.0, self.alone(self.first) / PAIR_SHARE)

    @property
    def works(self) -> bool:
        """Whether a patch was found that surely works on images of the source that the search has not seen."""
        return self.success is not None and self.success.low >= PAIR_WORKS_FROM

    @property
    def strong(self) -> bool:
        """Whether this is a finding."""
        return self.works and self.noticed

    @property
    def noticed(self) -> bool:
        """Whether this bars the all-clear: as rare as a finding, whether or not its patch surely works."""
        return self.chance < CHANCE_BELOW


def pair_of(
    model: Classifier,
    detections: Sequence[Detection],
    copied: Mapping[Pair, float] | None,
    scan: ImageSet,
    heldout: ImageSet,
) -> tuple[Paired | None, Cost]:
    """The pair that stands out most, measured on held-out images, and what that cost.

    Args:
        model: The classifier.
        detections: What detectors say of it.
        copied: What pairs needed in a copy of it; ``None`` where there is none.
        scan: Images to make the patch strong enough with.
        heldout: Images that the search has not seen.

    Returns:
        ``None`` where pairs were not scanned, or there are too few to compare.
    """
    found = next((d for d in detections if d.pairs is not None), None)
    if found is None or found.pairs is None or copied is None:
        return None, Cost()
    standings = tuple(pair_standings(found.pairs.norms, copied))
    if not standings:
        return None, Cost()
    source, target = standings[0].source, standings[0].target
    patch, paired = found.pairs.patches.get((source, target)), Paired(standings, found.detector)
    own = predictions(model, scan)
    some = [i for i, answer in enumerate(own.tolist()) if answer == source][:_TESTED]
    if patch is None or not some:
        return paired, Cost(forward=len(scan))
    with model.frozen(), torch.no_grad():
        shown = scan.images(some).to(model.device)
        stronger = strong_enough(model, shown, patch, share=_SHARE, at_once=_AT_ONCE)
    assert isinstance(stronger, ReversedPatch)
    before = predictions(model, heldout)
    classes = before if heldout.labels is None else heldout.labels
    hits = predictions_under(model, heldout, partial(put_on, trigger=stronger)) == target
    elsewhere = before != target
    rates = []
    for side in (classes == source, (classes != source) & (classes != target)):
        those = side & elsewhere
        rates.append(wilson(int(hits[those].sum()), int(those.sum())) if bool(those.any()) else None)
    cost = Cost(forward=len(scan) + 7 * len(some) + 2 * len(heldout))
    return Paired(standings, found.detector, stronger, *rates), cost


def patches_of(paired: Paired | None) -> tuple[ReversedPatch, ...]:
    """The patch of a pair of classes that is noticed, where there is one."""
    return () if paired is None or not paired.noticed or paired.patch is None else (paired.patch,)


def comparable(detection: Detection, copied: Mapping[Pair, float] | None) -> bool:
    """Whether pairs of classes that were scanned, if any, can be compared with those of a copy."""
    return detection.pairs is None or (copied is not None and bool(pair_standings(detection.pairs.norms, copied)))


def without_pairs(detection: Detection) -> Detection:
    """A detection whose pairs of classes say nothing, for they cannot be compared with those of a copy."""
    if detection.pairs is None:
        return detection
    note = "Pairs of classes say nothing here: there is no copy of the model to compare them with, or too few pairs."
    blind = (SOME_CLASSES, *detection.blind_spots)
    return replace(detection, pairs=None, blind_spots=blind, notes=(*detection.notes, note))
