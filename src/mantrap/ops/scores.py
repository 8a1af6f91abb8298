"""How often a model is right, and how often a trigger works."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from mantrap.core import Classifier, ImageSet
from mantrap.core.shapes import Images, Labels, Logits
from mantrap.errors import DataError, FailedError
from mantrap.ops.intervals import paired_difference, wilson
from mantrap.records import Difference, Rate

_MOST, _VALUES = 256, 256 * 3 * 64 * 64
"""Images in a batch at most, and values: of large images fewer, for what a network makes of them is large, too."""


def fitting_batch(images: ImageSet | Images) -> int:
    """How many images to show a model at a time: 256 up to 64x64 in colour, 20 at 224x224."""
    return max(1, min(_MOST, _VALUES // math.prod(images.shape[-3:])))


def in_batches(images: Images, size: int) -> Sequence[Tensor]:
    """Images so many at a time; a graph that is exported takes all at once."""
    return (images,) if torch.compiler.is_exporting() else images.split(size)


def predictions(model: Classifier, images: ImageSet, *, batch_size: int | None = None) -> Labels:
    """The class that the model gives each image, [n]. The model is frozen meanwhile.

    Raises:
        FailedError: The model's output is not finite.
    """
    return predictions_under(model, images, lambda batch: batch, batch_size=batch_size)


def predictions_under(
    model: Classifier, images: ImageSet, apply: Callable[[Images], Images], *, batch_size: int | None = None
) -> Labels:
    """The class that the model gives each image after a change, [n]. The model is frozen meanwhile.

    Args:
        model: The classifier.
        images: Clean images.
        apply: Changes a batch that lies on the model's device.
        batch_size: Images at a time; :func:`fitting_batch` where ``None``.

    Raises:
        FailedError: The model's output is not finite.
    """
    with model.frozen(), torch.no_grad():
        batches = images.batches(batch_size or fitting_batch(images))
        return torch.cat([_classes(model, apply(batch.images.to(model.device))) for batch in batches])


def _classes(model: Classifier, images: Images) -> Labels:
    """The largest logit's class, on the CPU; of logits that are no numbers there is none."""
    return finite_logits(model, images).argmax(1).cpu()


def finite_logits(model: Classifier, images: Images) -> Logits:
    """The model's answer to a batch, [n, k].

    Raises:
        FailedError: It is not finite.
    """
    return finite(model.logits(images))


def finite(logits: Logits) -> Logits:
    """The logits as they are; in a graph that is exported nothing can be raised, so nothing is looked at.

    Raises:
        FailedError: They are not finite.
    """
    if not torch.compiler.is_exporting() and not bool(logits.isfinite().all()):
        raise FailedError(
            expected="finite logits",
            got="infinite ones, or some that are no numbers",
            remedy="Check the model's declared preprocessing and its weights.",
        )
    return logits


def accuracy(model: Classifier, images: ImageSet, *, batch_size: int | None = None) -> Rate:
    """Share of images that get their own label.

    Raises:
        DataError: The images have no labels.
    """
    hits = _right(model, images, batch_size)
    return wilson(int(hits.sum()), len(images))


def accuracy_difference(
    model: Classifier, baseline: Classifier, images: ImageSet, *, batch_size: int | None = None
) -> Difference:
    """The accuracies of two models on the same images, and the paired interval of their difference.

    Raises:
        DataError: The images have no labels.
    """
    one, other = _right(model, images, batch_size), _right(baseline, images, batch_size)
    return paired_difference(
        both=int((one & other).sum()),
        first=int((one & ~other).sum()),
        second=int((other & ~one).sum()),
        neither=int((~one & ~other).sum()),
    )


def _right(model: Classifier, images: ImageSet, batch_size: int | None) -> Bool[Tensor, " n"]:
    """Which images get their own label."""
    if images.labels is None:
        raise DataError(expected=f"labels for {images.name}", got="none", remedy="Give labels, or skip the accuracy.")
    return predictions(model, images, batch_size=batch_size) == images.labels


def source_classes(model: Classifier, images: ImageSet) -> Labels:
    """The class that each image belongs to: its label, or where the set has none the model's own answer, [n]."""
    return predictions(model, images) if images.labels is None else images.labels


def trigger_success(
    model: Classifier,
    images: ImageSet,
    apply: Callable[[Images], Images],
    target: int,
    *,
    sources: Labels | None = None,
    batch_size: int | None = None,
) -> Rate:
    """Share of images of other classes that the trigger sends to the target; images of the target do not count.

    Args:
        model: The classifier.
        images: Clean images.
        apply: Puts the trigger on a batch.
        target: Label that the trigger should lead to.
        sources: Class of each image where it is known already; else :func:`source_classes`.
        batch_size: Images at a time; :func:`fitting_batch` where ``None``.

    Returns:
        The rate with its Wilson interval.

    Raises:
        DataError: Every image belongs to the target class.
        FailedError: The model's output is not finite.
    """
    others = (source_classes(model, images) if sources is None else sources) != target
    if not bool(others.any()):
        raise DataError(
            expected=f"images of {images.name} that do not belong to class {target}",
            got=f"{len(images)} that all do",
            remedy="Give images of other classes as well.",
        )
    outcomes = predictions_under(model, images, apply, batch_size=batch_size)
    return wilson(int(((outcomes == target) & others).sum()), int(others.sum()))
