"""Train a model and save it with its card."""

import dataclasses
from pathlib import Path

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Spec, build
from mantrap.data import check_labels
from mantrap.errors import DataError, UsageError
from mantrap.models import ARCHITECTURES, Preprocessing, save_model
from mantrap.records import ModelCard
from mantrap.training import Recipe, evaluate, fit

_SUFFIX = ".safetensors"


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
    recipe: Recipe,
    rng: Rng,
    progress: Progress = SILENT,
) -> ModelCard:
    """Train a classifier and save it with its card.

    A checkpoint lies beside ``out`` until the model is saved; the same call goes on from it.

    Args:
        model: Where to start.
        images: What to train on.
        out: Where the weights go, ``NAME.safetensors``.
        test: Labelled images to measure the accuracy on; ``None`` measures none.
        recipe: How to train.
        rng: Source of randomness.
        progress: Observer of the work.

    Returns:
        The card that lies beside the weights.

    Raises:
        DataError: Labels are missing or do not fit the model.
        FailedError: The training diverged.
        OutputError: The place cannot be written, or the checkpoint there belongs to another training.
        UsageError: The name does not end in ``.safetensors``.
    """
    if out.suffix != _SUFFIX:  # said now, not after the last epoch
        raise UsageError(expected=f"a file name that ends in {_SUFFIX}", got=str(out), remedy="Rename the output.")
    if test is not None:
        _check_test(model, test)
    checkpoint = checkpoint_path(out)
    trained = fit(model, images, recipe=recipe, rng=rng.child("fit"), progress=progress, checkpoint=checkpoint)
    record = trained.record
    if test is not None:
        record = dataclasses.replace(record, test_accuracy=evaluate(trained.model, test), test_name=test.name)
    card = save_model(trained.model, out, training=record)
    checkpoint.unlink(missing_ok=True)
    return card


def checkpoint_path(out: Path) -> Path:
    """Where the state of an unfinished training lies."""
    return out.with_suffix(".checkpoint")


def _check_test(model: Classifier, test: ImageSet) -> None:
    """Refuse a test set that the model cannot be measured on before the training, not after it."""
    if test.shape != model.input_shape or test.labels is None:
        raise DataError(
            expected=f"labelled test images of shape {model.input_shape}, as the model takes them",
            got=f"{'labelled' if test.labelled else 'unlabelled'} ones of shape {test.shape} in {test.name}",
            remedy="Give another --test.",
        )
    check_labels(test, model.num_classes)
