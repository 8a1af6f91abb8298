"""Short scans of small planted models, for what every detector promises."""

import dataclasses
from typing import Any

from torch import Tensor

from mantrap.core import Classifier, Detection, Detector, Rng
from mantrap.detect import AllToAll, PairScan
from tests.planted import Planted

SEARCHES_NOTHING = {"last_layer"}
"""Detectors that read weights: they draw nothing, have nothing to resume, and see nothing but those weights."""

MEASURES_NO_LABEL = {AllToAll.name}
"""Detectors that look at all classes at once: of single labels they say nothing, and they search in one piece."""

MEASURES_PAIRS = {PairScan.name}
"""Detectors of pairs of classes: of single labels they say nothing, and of pairs only beside a copy."""

SMALL = Planted(shape=(1, 7, 9), classes=4)
EVERY_SIZE = (
    SMALL,
    Planted(shape=(3, 9, 7), classes=4, seed=1),
    Planted(shape=(1, 8, 8), classes=2, seed=2),
    Planted(shape=(3, 8, 8), classes=10, seed=3),
)


def scan(
    detector: Detector, planted: Planted = SMALL, *, model: Classifier | None = None, **keywords: Any
) -> Detection:
    keywords = {"heldout": planted.images(3, "heldout"), "rng": Rng(0)} | keywords
    clean = keywords.pop("clean", None) or planted.images(4, "scan")
    return detector.detect(model or planted.model(), clean, **keywords)


def facts(detection: Detection) -> dict[str, Any]:
    """Everything a detection holds, tensors as bytes: equal only if bitwise equal."""
    plain = {
        name: value for name, value in vars(detection).items() if name not in ("triggers", "extra", "shifts", "pairs")
    }
    return {
        **plain,
        "triggers": [fields(trigger) for trigger in detection.triggers],
        "extra": {name: exact(value) for name, value in detection.extra.items()},
        "pairs": detection.pairs
        and (detection.pairs.norms, {pair: fields(patch) for pair, patch in detection.pairs.patches.items()}),
        "shifts": detection.shifts and {**fields(detection.shifts), "patch": fields(detection.shifts.patch)},
    }


def fields(value: Any) -> dict[str, Any]:
    """What a dataclass holds, tensors as bytes."""
    return {field.name: exact(getattr(value, field.name)) for field in dataclasses.fields(value)}


def exact(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), str(value.dtype), value.detach().numpy().tobytes()
    return value
