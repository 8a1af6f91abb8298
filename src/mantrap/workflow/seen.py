"""What the detectors of an audit saw."""

from dataclasses import dataclass

from mantrap.core import Classifier, Detection, Detector
from mantrap.records import CheckRecord
from mantrap.workflow.plan import spelled
from mantrap.workflow.references import Looked
from mantrap.workflow.retraining import Copied


@dataclass(frozen=True)
class Seen:
    """What detectors saw.

    Args:
        detections: What each says of the model.
        looked: What the references look like.
        copied: What came of a copy of the model.
        checks: What the reader must know of references, copy, and who did not look.
    """

    detections: tuple[Detection, ...]
    looked: tuple[Looked, ...]
    copied: Copied
    checks: tuple[CheckRecord, ...]


def nothing(detector: Detector, model: Classifier) -> Detection:
    """What a detector says whose time was over before it had anything to say."""
    return Detection(
        detector=spelled(detector),
        num_classes=model.num_classes,
        blind_spots=("Everything that this detector looks for: its time was over too soon.",),
        missed=model.num_classes,
    )
