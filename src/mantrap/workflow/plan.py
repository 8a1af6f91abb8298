"""What an audit shall do, and with what."""

from dataclasses import dataclass

from mantrap.core import Classifier, Detector, ImageSet, spec_of
from mantrap.records import SCHEMA_VERSION


@dataclass(frozen=True)
class Source:
    """Where the model came from, for the record.

    Args:
        file_name: Name of the file, or of the class for a model in memory.
        sha256: Digest of the file, or of the model in memory.
        path: The whole path; volatile.
    """

    file_name: str
    sha256: str
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an audit shall do.

    Args:
        detectors: Who looks, in this order.
        labels: Which labels to scan; all where ``None``.
        seed: Of all randomness.
        command: How to run it again, for the record.
    """

    detectors: tuple[Detector, ...]
    labels: tuple[int, ...] | None = None
    seed: int = 0
    command: str = ""

    def identity(self, source: Source, model: Classifier, images: ImageSet) -> dict[str, object]:
        """What makes two audits the same, for resuming."""
        return {
            "kind": "audit",
            "schema_version": SCHEMA_VERSION,
            "model": source.sha256,
            "preprocessing": repr((model.arch, model.input_shape, model.mean, model.std, model.pixel_range)),
            "images": images.digest(),
            "detectors": [str(spec_of(d)) for d in self.detectors],
            "labels": None if self.labels is None else list(self.labels),
            "seed": self.seed,
        }
