"""Which models are shown what was made for which."""

from dataclasses import dataclass

from mantrap.core import Classifier, Evasion, ImageSet, spec_of
from mantrap.errors import UsageError
from mantrap.records import SCHEMA_VERSION
from mantrap.training import check_fits
from mantrap.workflow.plan import Source
from mantrap.workflow.versions import versions

_FEWEST = 2
"""Models, below which nothing can be said of others."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Transferring:
    """Which models are misled by what was made for which.

    Args:
        models: The classifiers, each with its file; two or more, of the same classes and shape of images.
        images: Images with labels.
        evasion: Who makes adversarial examples.
        stretched: Bring every change to this distortion, the root mean square change of a value; left as it is where
            ``None``.
        seed: Of all randomness.
        command: How to run it again, for the record.

    Raises:
        DataError: Images without labels, or that do not fit a model.
        UsageError: Fewer than two models, models of other numbers of classes, or a distortion that is none.
    """

    models: tuple[tuple[Source, Classifier], ...]
    images: ImageSet
    evasion: Evasion
    stretched: float | None = None
    seed: int = 0
    command: str = ""

    def __post_init__(self) -> None:
        if len(self.models) < _FEWEST:
            raise UsageError(
                expected="two models or more", got=f"{len(self.models)}", remedy="Name others of the same task."
            )
        classes = {model.num_classes for _, model in self.models}
        if len(classes) > 1:
            raise UsageError(
                expected="models of the same classes",
                got=f"models of {', '.join(map(str, sorted(classes)))} classes",
                remedy="Name models of one task.",
            )
        if self.stretched is not None and not 0 < self.stretched <= 1:
            raise UsageError(
                expected="a distortion above 0 and of at most 1, the range of pixels",
                got=f"{self.stretched}",
                remedy="Give another.",
            )
        for _, model in self.models:
            check_fits(model, self.images, remedy="Give images of the models' task, with labels.")

    def identity(self) -> dict[str, object]:
        """What makes two pieces of such work the same."""
        return {
            "kind": "transfer",
            "schema_version": SCHEMA_VERSION,
            "models": [source.sha256 for source, _ in self.models],
            "preprocessing": [model.digest() for _, model in self.models],
            "images": self.images.digest(),
            "evasion": str(spec_of(self.evasion)),
            "stretched": self.stretched,
            "seed": self.seed,
            "versions": versions(),
        }
