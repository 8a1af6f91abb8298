"""Train a model and save it with its card."""

import dataclasses
from pathlib import Path

from mantrap.core import (
    SILENT,
    Classifier,
    Hardening,
    ImageSet,
    Progress,
    Rng,
    SafelyTrained,
    SafeTraining,
    Spec,
    build,
    spec_of,
)
from mantrap.data.only import write_index
from mantrap.errors import DataError, ModelError, UsageError
from mantrap.models import ARCHITECTURES, Preprocessing, save_model
from mantrap.models.cards import card_path, read_card
from mantrap.records import ModelCard
from mantrap.training import Recipe, check_fits, evaluate, fit
from mantrap.workflow.outputs import finished

_SUFFIX = ".safetensors"
_KIND = "trained model"


@dataclasses.dataclass(frozen=True)
class SafeRecipe:
    """How to train, and what to do about images that may be poisoned or that adversaries change.

    Args:
        recipe: How to train.
        safely: What to do about poisoned images; ``None`` for nothing.
        against: What to do about adversarial examples; ``None`` for nothing.

    Raises:
        UsageError: Both are to be done.
    """

    recipe: Recipe
    safely: SafeTraining | None = None
    against: Hardening | None = None

    def __post_init__(self) -> None:
        if self.safely is not None and self.against is not None:
            raise UsageError(
                expected="a safe training or a hardening",
                got=f"{spec_of(self.safely)} and {spec_of(self.against)}",
                remedy="Train with --safely first, and then with --against --only NAME.kept.csv.",
            )


def new_classifier(arch: str, images: ImageSet, *, declared: Preprocessing, rng: Rng) -> Classifier:
    """A classifier of this architecture with fresh weights that fits these images.

    Sizes that the spec leaves open (channels, height, width, number of classes) are taken from the images.

    Raises:
        DataError: The images have no labels.
        SpecError: There is no such architecture, or its sizes are out of range.
    """
    if images.num_classes is None:
        raise DataError(expected=f"labels for {images.name}", got="none", remedy="Train on a labelled set.")
    spec = Spec.parse(arch)
    kind = ARCHITECTURES.kind(spec.name)
    channels, height, width = images.shape
    sizes = {"channels": channels, "height": height, "width": width, "num_classes": images.num_classes}
    open_sizes = {k: v for k, v in sizes.items() if k not in spec.options}
    architecture = build(kind, Spec(spec.name, {**open_sizes, **spec.options}))
    with rng.child("weights").as_global():
        module = architecture.build()
    mean, std, pixel_range = declared.over(None)
    return Classifier(
        module,
        input_shape=architecture.input_shape,
        num_classes=architecture.num_classes,
        mean=mean,
        std=std,
        pixel_range=pixel_range,
        class_names=images.class_names if len(images.class_names) == architecture.num_classes else (),
        arch=str(Spec(spec.name, {**open_sizes, **spec.options})),
    )


def train(
    model: Classifier,
    images: ImageSet,
    out: Path,
    *,
    test: ImageSet | None,
    recipe: Recipe | SafeRecipe,
    rng: Rng,
    progress: Progress = SILENT,
) -> ModelCard:
    """Train a classifier and save it with its card.

    A checkpoint lies beside ``out`` until the model is saved; the same call goes on from it. A model of the same
    training that is there already is left alone. Where images may be poisoned, ``NAME.kept.csv`` names those that were
    learned, for :func:`mantrap.data.only.only`.

    Args:
        model: Where to start.
        images: What to train on.
        out: Where the weights go, ``NAME.safetensors``.
        test: Labelled images to measure the accuracy on; ``None`` measures none.
        recipe: How to train, with a word on safety where images may be poisoned or adversaries change them.
        rng: Source of randomness.
        progress: Observer of the work.

    Returns:
        The card that lies beside the weights.

    Raises:
        DataError: Labels are missing or do not fit the model.
        FailedError: The training diverged.
        OutputError: The place cannot be written, or a checkpoint or a model of another training lies there.
        UsageError: The name does not end in ``.safetensors``.
    """
    check_work(model, out, test=test)
    checkpoint = checkpoint_path(out)
    known = _known_card(out)
    how = recipe if isinstance(recipe, SafeRecipe) else SafeRecipe(recipe)
    origin = {
        "kind": _KIND,
        "architecture": model.arch,
        "first weights": model.digest(),
        "images": images.digest(),
        "recipe": str(spec_of(how.recipe)),
        "seed": rng.seed,
        "safe training": "" if how.safely is None else str(spec_of(how.safely)),
        "hardening": "" if how.against is None else str(spec_of(how.against)),
        "test set": None if test is None else (test.name, len(test)),
    }
    if not checkpoint.exists() and finished(out, _origin(known), origin, there=out.exists()) and known is not None:
        return known
    made = _learned(model, images, how, rng.child("fit"), progress, checkpoint)
    record = made.training
    if test is not None:
        record = dataclasses.replace(record, test_accuracy=evaluate(made.model, test), test_name=test.name)
    if how.safely is not None:
        write_index(images, sorted(set(range(len(images))) - set(made.apart)), kept_path(out))
    card = save_model(made.model, out, training=record, notes=made.notes)
    forget(checkpoint)
    return card


def _learned(
    model: Classifier, images: ImageSet, how: SafeRecipe, rng: Rng, progress: Progress, checkpoint: Path
) -> SafelyTrained:
    recipe = str(spec_of(how.recipe))
    if how.safely is not None:
        return how.safely.train(model, images, recipe=recipe, rng=rng, progress=progress, checkpoint=checkpoint)
    if how.against is not None:
        made = how.against.train(model, images, recipe=recipe, rng=rng, progress=progress, checkpoint=checkpoint)
        return SafelyTrained(made.model, made.training, (), notes=made.notes)
    trained = fit(model, images, recipe=how.recipe, rng=rng, progress=progress, checkpoint=checkpoint)
    return SafelyTrained(trained.model, trained.record, ())


def start_over(out: Path) -> None:
    """Throw away the training that an earlier run left at a place, finished or not.

    Raises:
        OutputError: A file lies there that no training here has made.
    """
    checkpoint = checkpoint_path(out)
    if not checkpoint.exists():
        finished(out, _origin(_known_card(out)), {"kind": _KIND}, there=out.exists(), fresh=True)
    forget(checkpoint)
    for path in (kept_path(out), card_path(out), out):
        path.unlink(missing_ok=True)


def checkpoint_path(out: Path) -> Path:
    """Where the state of an unfinished training lies."""
    return out.with_suffix(".checkpoint")


def forget(checkpoint: Path) -> None:
    """Remove the state of a training, and of those that it was made up of."""
    for left in [p for p in checkpoint.parent.glob("*") if p.name.startswith(checkpoint.name)]:
        left.unlink()


def kept_path(out: Path) -> Path:
    """Where it is said which images of a set that may be poisoned were learned."""
    return out.with_suffix(".kept.csv")


def check_work(model: Classifier, out: Path, *, test: ImageSet | None) -> None:
    """Refuse a name or a test set that would only show to be wrong after the last epoch.

    Raises:
        UsageError: The name does not end in ``.safetensors``.
        DataError: The model cannot be measured on the test set.
    """
    if out.suffix != _SUFFIX:
        raise UsageError(expected=f"a file name that ends in {_SUFFIX}", got=str(out), remedy="Rename the output.")
    if test is not None:
        check_fits(model, test, remedy="Give another --test.")


def _known_card(out: Path) -> ModelCard | None:
    """The card of the model that lies at a place; ``None`` where there is none that belongs to it."""
    try:
        return read_card(out)
    except ModelError:
        return None


def _origin(card: ModelCard | None) -> dict[str, object] | None:
    """What a trained model followed from, as its card says."""
    if card is None or card.training is None:
        return None
    training = card.training
    accuracy = training.test_accuracy
    return {
        "kind": "backdoored model" if card.backdoored else _KIND,
        "architecture": card.arch,
        "first weights": training.start_digest,
        "images": training.data_digest,
        "recipe": training.recipe,
        "seed": training.seed,
        "safe training": training.safely,
        "hardening": training.against,
        "test set": None if accuracy is None else (training.test_name, accuracy.total),
    }
