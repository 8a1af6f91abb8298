"""What an audit shall do, and with what."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from mantrap.core import Classifier, Detector, ImageSet, Rng, spec_of
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS, IF_TIME, PairScan
from mantrap.errors import UsageError
from mantrap.records import SCHEMA_VERSION
from mantrap.records.files import sha256_of
from mantrap.workflow.versions import versions

_AT_ONCE = 8
"""Labels in a group where time is short."""
_ASKED = 16
"""Random images that tell one network from another."""


@dataclass(frozen=True)
class Source:
    """Where the model came from, for the record.

    Args:
        file_name: Name of the file, or of the class for a model in memory.
        sha256: Digest of the file, or of the model in memory.
        path: The whole path; volatile.
        opened: Opens the model anew in another process; where ``None`` the model itself is sent there.
    """

    file_name: str
    sha256: str
    path: str = ""
    opened: Callable[[], Classifier] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, path: Path, opened: Callable[[], Classifier] | None = None) -> "Source":
        """Of a file, and how it is opened anew."""
        return cls(path.name, sha256_of(path), str(path), opened)


@dataclass(frozen=True)
class Reference:
    """A model that learned the same task and that the user trusts.

    Args:
        source: Where it came from.
        model: The classifier.
    """

    source: Source
    model: Classifier


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an audit shall do.

    Args:
        detectors: Who looks, in this order.
        if_time: Who looks as well, if a part of what the others leave of the budget suffices for all of it.
        labels: Which labels to scan, each once; all where ``None``.
        references: Models of the same task to compare with, measured by the same detectors on the same images. With
            them, and with a copy that is asked for, labels are searched to the end however many there are: what another
            model explains has to be known of all.
        copy: Whether a copy of the model is retrained on the images and measured by the same detectors; where ``None``,
            if it does not take long.
        control: Whether a known patch is planted in a copy of the model, which detectors must find for an all-clear;
            where ``None``, if it decides and does not take long.
        budget: Seconds that detectors, copies and references may take; as long as they need where ``None``. Labels are
            then searched in small groups, so that little is lost when the time is over.
        left_out: Detectors that were left out because there are no images; ``None`` where there are.
        workers: Processes that search at the same time, this one included; what is found does not depend on it.
        seed: Of all randomness.
        command: How to run it again, for the record.
    """

    detectors: tuple[Detector, ...]
    if_time: tuple[Detector, ...] = ()
    labels: tuple[int, ...] | None = None
    references: tuple[Reference, ...] = ()
    copy: bool | None = None
    control: bool | None = None
    budget: float | None = None
    left_out: tuple[str, ...] | None = None
    workers: int = 1
    seed: int = 0
    command: str = ""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(expected="at least one worker", got=f"{self.workers}", remedy="Use one or more.")
        first = {spelled(d): d for d in map(self._in_time, self.detectors)}
        object.__setattr__(self, "detectors", tuple(first.values()))
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(sorted(set(self.labels))))

    def _in_time(self, detector: Detector) -> Detector:
        """The detector, with groups of labels that are small where time is short."""
        some: Any = detector
        if self.budget is None or not is_dataclass(some) or getattr(some, "labels_at_once", 0) <= _AT_ONCE:
            return detector
        smaller: Any = dataclasses.replace(some, labels_at_once=_AT_ONCE)  # type: ignore[type-var]
        return cast("Detector", smaller)

    def for_labels(self, count: int) -> "Plan":
        """The plan for so many labels: where they are compared with those of another model, none is given up."""
        if not self.references and self.copy is not True:
            return self
        return dataclasses.replace(self, detectors=tuple(_to_the_end(d, count) for d in self.detectors))

    def identity(self, source: Source, model: Classifier, images: ImageSet) -> dict[str, object]:
        """What makes two audits the same, for resuming."""
        return {
            "kind": "audit",
            "schema_version": SCHEMA_VERSION,
            "model": source.sha256,
            "preprocessing": repr((model.arch, model.input_shape, model.mean, model.std, model.pixel_range)),
            "images": images.digest(),
            "network": _behaviour(model),
            "versions": versions(),
            "detectors": [repr(d) for d in self.detectors],
            "if_time": [repr(d) for d in self.if_time],
            "labels": None if self.labels is None else list(self.labels),
            "copy": self.copy,
            "control": self.control,
            "references": [reference.model.digest() for reference in self.references],
            "seed": self.seed,
        }


class Who(NamedTuple):
    """Who looks in any case, and who if there is time."""

    detectors: tuple[Detector, ...]
    if_time: tuple[Detector, ...]


def who_looks(named: Sequence[Detector | str], *, budget: float | None, pairs: bool | None = None) -> Who:
    """Detectors of a plan.

    Args:
        named: Specs, or detectors of one's own; none for the usual ones.
        budget: Seconds that there are; ``None`` for as many as it takes.
        pairs: Whether pairs of classes are scanned as well; where ``None``, beside the usual ones if there is time.
    """
    usual = not named or tuple(named) == DEFAULT_DETECTORS
    first = (PairScan.name,) if pairs else ()
    further = IF_TIME if usual and pairs is None and budget is not None else ()
    return Who(_made((*first, *(named or DEFAULT_DETECTORS))), _made(further))


def _made(named: Sequence[Detector | str]) -> tuple[Detector, ...]:
    return tuple(DETECTORS.create(d) if isinstance(d, str) else d for d in named)


def _to_the_end(detector: Detector, count: int) -> Detector:
    """The detector, such that it gives none of so many labels up."""
    some: Any = detector
    if not is_dataclass(some) or getattr(some, "many", count) >= count:
        return detector
    whole: Any = dataclasses.replace(some, many=count)  # type: ignore[type-var]
    return cast("Detector", whole)


def spelled(detector: Detector) -> str:
    """The spec of a detector, or how one that is no dataclass shows itself."""
    return str(spec_of(detector)) if is_dataclass(detector) else repr(detector)


def _behaviour(model: Classifier) -> str:
    """A digest of what the network is made of and what it answers: equal weights do not make equal networks."""
    sha = hashlib.sha256(repr(model.module).encode())
    asked = torch.rand(_ASKED, *model.input_shape, generator=Rng(0).child("behaviour").torch())
    with model.frozen(), torch.no_grad():
        logits = model.module(asked.to(model.device))
    # Rounded, so that the last bits, which may change with the number of threads, seldom count.
    sha.update(logits.double().cpu().round(decimals=2).numpy().tobytes())
    return sha.hexdigest()
