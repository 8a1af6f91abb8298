"""What a repaired model is made from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mantrap.core import Classifier, ImageSet, Repair, ReversedTrigger, spec_of
from mantrap.errors import UsageError
from mantrap.records import AuditRecord
from mantrap.workflow.kept_triggers import digest_of
from mantrap.workflow.plan import Source

_KIND = "repaired model"


@dataclass(frozen=True, eq=False, kw_only=True)
class Cleansing:
    """What a repaired model is made from.

    Args:
        model: The classifier in question.
        source: Its file.
        images: Clean images; those that the audit measured on are kept apart again, to measure the repair on.
        audited: The record of its audit.
        triggers: What that recovered.
        repair: What to do.
        reopened: Opens a file of weights as the model was opened, to measure what was written.
        command: How to run it again, for the record.
    """

    model: Classifier
    source: Source
    images: ImageSet
    audited: AuditRecord
    triggers: tuple[ReversedTrigger, ...]
    repair: Repair
    reopened: Callable[[Path], Classifier]
    command: str = ""

    def __post_init__(self) -> None:
        if self.source.sha256 != self.audited.model.sha256:
            raise UsageError(
                expected=f"the model that was audited, sha256 {self.audited.model.sha256[:16]}...",
                got=f"{self.source.file_name} with {self.source.sha256[:16]}...",
                remedy="Give the file that was audited, or audit this one first.",
            )

    def origin(self) -> dict[str, str]:
        """What tells this piece of work from another."""
        return {
            "kind": _KIND,
            "model": self.source.sha256,
            "repair": str(spec_of(self.repair)),
            "triggers": digest_of(self.triggers),
            "preprocessing": self.model.digest(),
            "images": self.images.digest(),
            "seed": str(self.audited.reproduction.seed),
            "detectors": " ".join(self.audited.reproduction.detectors),
        }
