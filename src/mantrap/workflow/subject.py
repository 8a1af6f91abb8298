"""A model that was audited, on the bench of whoever deals with its triggers: to repair it, or to guard it."""

from dataclasses import dataclass
from functools import partial

from mantrap.core import Classifier, Cost, ImageSet, Progress, ReversedTrigger, Rng
from mantrap.data import check_labels
from mantrap.errors import UsageError
from mantrap.ops.recovered import kind_of, put_on
from mantrap.ops.scores import source_classes, trigger_success
from mantrap.records import AuditRecord, Rate, Reproduction, Volatile
from mantrap.workflow.kept_triggers import digest_of
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.naming import by_name
from mantrap.workflow.parting import parted
from mantrap.workflow.plan import Source
from mantrap.workflow.sharpening import sharpened
from mantrap.workflow.stopwatch import Stopwatch
from mantrap.workflow.versions import versions
from mantrap.workflow.words import label_name, percent

_WORKS_FROM = 0.5
"""What works on fewer of the held-out images of the model as it is, is no trigger to deal with."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Audited:
    """A model, its audit, and what that recovered.

    Args:
        model: The classifier in question.
        source: Its file.
        images: Clean images; those that the audit measured on are kept apart again, to measure on.
        audited: The record of its audit.
        triggers: What that recovered.
        command: How to run it again, for the record.
    """

    model: Classifier
    source: Source
    images: ImageSet
    audited: AuditRecord
    triggers: tuple[ReversedTrigger, ...]
    command: str = ""

    def __post_init__(self) -> None:
        if self.source.sha256 != self.audited.model.sha256:
            raise UsageError(
                expected=f"the model that was audited, sha256 {self.audited.model.sha256[:16]}...",
                got=f"{self.source.file_name} with {self.source.sha256[:16]}...",
                remedy="Give the file that was audited, or audit this one first.",
            )

    def origin_as(self, kind: str) -> dict[str, str]:
        """What tells a piece of work on this model from one on another."""
        return {
            "kind": kind,
            "model": self.source.sha256,
            "triggers": digest_of(self.triggers),
            "preprocessing": self.model.digest(),
            "images": self.images.digest(),
            "seed": str(self.audited.reproduction.seed),
        }


class Subject:
    """An audited model, its images parted as the audit parted them, and those of its triggers that work.

    Args:
        work: The model, its audit and its triggers.
        progress: Observer of the work.

    Raises:
        DataError: Labels outside the model's classes.
        UsageError: Too few images to part.
    """

    def __init__(self, work: Audited, progress: Progress) -> None:
        self.progress = progress
        self.model, self.images = by_name(work.model, work.images)
        if self.images.labelled:
            check_labels(self.images, self.model.num_classes)
        self.rng = Rng(work.audited.reproduction.seed)
        self.learned, self.heldout = parted(self.images, self.rng)
        self.watch, self.ledger = Stopwatch(), Ledger()
        self.sources = source_classes(self.model, self.heldout)
        self.triggers, self.notes = self._chosen(work.triggers, self.model)

    def _chosen(
        self, recovered: tuple[ReversedTrigger, ...], audited: Classifier
    ) -> tuple[tuple[ReversedTrigger, ...], tuple[str, ...]]:
        """The triggers that work, patches searched for once more, and a sentence on those that do not.

        Args:
            recovered: What an audit found.
            audited: The classifier in which it did, which is searched once more; triggers have to work on the model as
                it is.
        """
        with self.watch.stage("sharpen"):
            rng = self.rng.child("sharpen")
            found, cost = sharpened(audited, self.learned, self.heldout, recovered, rng=rng, progress=self.progress)
        self.ledger.add("sharpen", cost)
        rates = self.works(self.model, found)
        notes = [
            f"The {self.named(trigger)} works on {percent(rate.value)} of held-out images only, and was left out."
            for trigger, rate in zip(found, rates, strict=True)
            if rate.value < _WORKS_FROM
        ]
        kept = (trigger for trigger, rate in zip(found, rates, strict=True) if rate.value >= _WORKS_FROM)
        return tuple(kept), tuple(notes)

    def named(self, trigger: ReversedTrigger) -> str:
        """What a trigger is and where it leads."""
        return f"{kind_of(trigger)} for {label_name(trigger.target, self.model.class_names[trigger.target])}"

    def works(self, model: Classifier, triggers: tuple[ReversedTrigger, ...]) -> tuple[Rate, ...]:
        """How often each trigger works on held-out images."""
        with self.watch.stage("measure"):
            self.ledger.add("measure", Cost(forward=len(triggers) * len(self.heldout)))
            return tuple(
                trigger_success(
                    model, self.heldout, partial(put_on, trigger=trigger), trigger.target, sources=self.sources
                )
                for trigger in triggers
            )

    def reproduction(self, work: Audited) -> Reproduction:
        """How to come to the same again."""
        return Reproduction(
            command=work.command,
            seed=self.rng.seed,
            detectors=work.audited.reproduction.detectors,
            versions=versions(),
        )

    def volatile(self, work: Audited) -> Volatile:
        """When and where it was done, and how long it took."""
        return self.watch.volatile(work.source.path, self.model.device)
