"""Measure what planted backdoors do to a model, beside a clean one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mantrap.core import Classifier, ImageSet, ReversedTrigger, spec_of
from mantrap.core.truth import GroundTruth
from mantrap.errors import DataError, UsageError
from mantrap.measure import measure_attack
from mantrap.models import ARCHITECTURES
from mantrap.models.cards import read_card
from mantrap.ops.scores import accuracy_difference
from mantrap.records import AttackMeasure, AuditRecord, Difference, MeasureRecord, ModelCard, Rate, TrainingRecord
from mantrap.records.files import sha256_of
from mantrap.training import check_fits, evaluate
from mantrap.workflow.likening import likenesses
from mantrap.workflow.truths import load_truth
from mantrap.workflow.unsearched import unsearched
from mantrap.workflow.versions import versions


@dataclass(frozen=True, eq=False)
class Clean:
    """A model of the same recipe without the backdoor, and what its card says where it has one."""

    model: Classifier
    card: ModelCard | None = None


@dataclass(frozen=True)
class Measured:
    """Accuracy, that of the clean model beside it, and what each backdoor does."""

    accuracy: Rate
    comparison: Difference | None
    backdoors: tuple[AttackMeasure, ...]


def measured(
    model: Classifier,
    test: ImageSet,
    truth: GroundTruth,
    tensors: Mapping[str, Tensor],
    clean: Clean | None,
) -> Measured:
    """All that is measured of an attacked model; see :func:`mantrap.measure.measure_attack`."""
    beside = None if clean is None else clean.model
    backdoors = measure_attack(model, test, truth, tensors=tensors, clean_model=beside)
    comparison = None if beside is None else accuracy_difference(model, beside, test)
    return Measured(evaluate(model, test) if comparison is None else comparison.first, comparison, backdoors)


def measure(
    model: Classifier,
    path: Path,
    *,
    truth: Path,
    test: ImageSet,
    clean: Clean | None = None,
    recovered: Sequence[ReversedTrigger] = (),
    audited: AuditRecord | None = None,
) -> MeasureRecord:
    """What the backdoors that a truth speaks of do to a model, whoever trained it on the poisoned set.

    Args:
        model: The classifier.
        path: The file that it came from.
        truth: The truth, or the poisoned set or model that it lies beside.
        test: Labelled clean test images.
        clean: What to compare with.
        recovered: Triggers that an audit found, to hold beside those that were planted.
        audited: The record of that audit, by which images that it searched with are left out where they can be told.

    Raises:
        DataError: The test images have no labels or do not fit, the clean model is for others, or no image is one that
            an attack is aimed at.
        MissingDataError: There is no truth.
        RecordError: The truth cannot be read.
    """
    check_fits(model, test)
    if clean is not None:
        check_comparable(model, clean.model)
    known, tensors = load_truth(truth)
    found = measured(model, test, known, tensors, clean)
    card = read_card(path)
    looked, note = (test, "") if audited is None else unsearched(model, test, audited)
    return MeasureRecord(
        model=path.name,
        sha256=sha256_of(path),
        attack=known.attack,
        test_name=test.name,
        test_images=len(test),
        accuracy=found.accuracy,
        comparison=found.comparison,
        backdoors=found.backdoors,
        differs=otherwise(model, None if card is None else card.training, clean),
        versions=versions(),
        recovered=len(recovered),
        likenesses=likenesses(model, looked, known, tensors, recovered),
        notes=(note,) if note else (),
    )


def check_comparable(model: Classifier, clean: Classifier) -> None:
    """Refuse a clean model that nothing can be compared with.

    Raises:
        DataError: It is for other images or classes.
    """
    if (clean.input_shape, clean.num_classes) != (model.input_shape, model.num_classes):
        raise DataError(
            expected=f"a clean model for images of {model.input_shape} and {model.num_classes} classes",
            got=f"one for images of {clean.input_shape} and {clean.num_classes} classes",
            remedy="Give another --clean.",
        )


def otherwise(
    model: Classifier, training: TrainingRecord | None, clean: Clean | None, *, images: int | None = None
) -> tuple[str, ...]:
    """In what a clean model was made otherwise than an attacked one, as far as is known.

    Nothing where the attacked one began as the clean one. ``images`` is how many images the attacker was given, where
    that is known; the attack may have taken some out or made its own.
    """
    if clean is None or (training is not None and training.start_digest == clean.model.digest()):
        return ()
    pairs = [("architecture", _in_full(model.arch), _in_full(clean.model.arch))]
    known = None if clean.card is None else clean.card.training
    if training is not None and known is not None:
        given = training.images if images is None else images
        pairs += [("recipe", training.recipe, known.recipe), ("number of images", str(given), str(known.images))]
    return tuple(f"{what}: {there}, not {here}" for what, here, there in pairs if here != there)


def _in_full(arch: str) -> str:
    """An architecture without what is as usual, where it is one of ours: one spelling for each."""
    try:
        return str(spec_of(ARCHITECTURES.create(arch)))
    except UsageError:
        return arch
