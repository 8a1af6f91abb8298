"""An audit from Python: a module or a file, tensors or a loader."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mantrap.core import SILENT, Classifier, Detector, ImageSet, Progress
from mantrap.data import load
from mantrap.detect import DEFAULT_DETECTORS
from mantrap.errors import DataError, UsageError
from mantrap.models import Preprocessing, open_model, wrap
from mantrap.records import AuditRecord
from mantrap.workflow.audit import audit as run
from mantrap.workflow.plan import Plan, Reference, Source, who_looks
from mantrap.workflow.references import reference_files


def audit(
    model: nn.Module | Classifier | str | Path,
    images: ImageSet | Tensor | np.ndarray | Iterable[Any] | str | Path | None,
    labels: Sequence[int] | Tensor | np.ndarray | None = None,
    *,
    arch: str | None = None,
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pixel_range: tuple[float, float] | None = None,
    detectors: Sequence[Detector | str] = DEFAULT_DETECTORS,
    references: Sequence[nn.Module | Classifier | str | Path] = (),
    copy: bool | None = None,
    control: bool | None = None,
    budget: float | None = None,
    workers: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress = SILENT,
) -> AuditRecord:
    """Look for a backdoor in a model.

    Args:
        model: A module in memory (it stays bitwise as it is), a classifier, or the path of a file of weights.
        images: Clean images: an ``ImageSet``; a name or path for ``mantrap.load``; pixels, uint8 or float in [0, 1], as
            a tensor [n, c, h, w] or an array [n, h, w, c]; a ``DataLoader`` of such; or ``None``, which clears nothing.
        labels: A class for each image; not for an ``ImageSet`` or a loader, which bring their own.
        arch: Architecture of a file without a card: a spec of ours, or ``FILE.py:NAME`` of a file that you trust.
        num_classes: Number of classes that the model must have; taken from a forward pass where not given.
        mean: Subtracted by the model's preprocessing, by channel, after pixels / 255.
        std: Divided by, by channel.
        pixel_range: What black and white are for the model before that; (0, 255) for raw values.
        detectors: Specs, or your own; where a budget has room, ``pair_scan`` joins the usual ones.
        references: Models of the same task and network that you trust, given as ``model`` is; each costs a scan.
        copy: Whether to retrain and measure a copy; where ``None``, if that does not take long.
        control: Whether to plant a patch in a copy, to be found for an all-clear; where ``None``, if it decides.
        budget: Seconds that detectors, copies and references may take; as long as they need where ``None``.
        workers: Processes that search at the same time, with as many threads each; the answer is the same.
        seed: Of all randomness.
        out: Folder to keep finished work and ``audit.json`` in; nothing is written without it.
        fresh: Start over in an ``out`` that holds another audit.
        progress: Observer of the work.

    Returns:
        The record; ``record.verdict``, ``record.suspects`` and ``record.to_json()`` are what most want.

    Raises:
        UsageError: Arguments that do not fit each other.
        DataError: Images or labels that cannot be used.
        ModelError: A model that cannot be used.
    """
    found = None if images is None else as_images(images, labels)
    declared = Preprocessing(mean=_floats(mean), std=_floats(std), pixel_range=pixel_range)
    classifier, source = _classifier(model, found, arch, num_classes, declared)
    trusted = _references(references, found, arch, num_classes, declared)
    how = _with_command(source.file_name, found, trusted, seed, copy=copy, control=control, budget=budget)
    who = who_looks(detectors, budget=budget)
    plan = Plan(detectors=who.detectors, if_time=who.if_time, references=trusted, workers=workers, seed=seed, **how)
    return run(classifier, found, plan=plan, source=source, out=out, fresh=fresh, progress=progress)


def _with_command(
    name: str, images: ImageSet | None, references: Sequence[Reference], seed: int, **given: Any
) -> dict[str, Any]:
    """What was given, and the call as it would be typed with it."""
    said = {"references": [r.source.file_name for r in references] or None, **given, "seed": seed}
    words = ", ".join(f"{k}={v}" for k, v in said.items() if v is not None)
    shown = None if images is None else images.name
    return {**given, "command": f"mantrap.audit({name}, {shown}, {words})"}


def _references(
    given: Sequence[nn.Module | Classifier | str | Path],
    images: ImageSet | None,
    arch: str | None,
    num_classes: int | None,
    declared: Preprocessing,
) -> tuple[Reference, ...]:
    """Models to compare with, from files, folders and memory."""
    opened: list[Reference] = []
    for one in given:
        for each in reference_files([Path(one)]) if isinstance(one, str | Path) else [one]:
            model, source = _classifier(each, images, arch, num_classes, declared)
            opened.append(Reference(source, model))
    return tuple(opened)


def as_images(
    images: ImageSet | Tensor | np.ndarray | Iterable[Any] | str | Path,
    labels: Sequence[int] | Tensor | np.ndarray | None,
) -> ImageSet:
    """Whatever holds images as an ``ImageSet``.

    Raises:
        DataError: Pixels that are no images, or a loader whose batches are no pairs of images and labels.
        UsageError: Labels beside images that bring their own.
    """
    if isinstance(images, Tensor | np.ndarray):
        return ImageSet.from_array(images, labels)
    if labels is not None:
        raise UsageError(
            expected="labels only beside a tensor or array of images",
            got=f"labels beside {type(images).__name__}",
            remedy="Leave them out: an ImageSet or a loader brings its own.",
        )
    if isinstance(images, str | Path):
        return load(str(images))
    return images if isinstance(images, ImageSet) else _from_loader(images)


def _from_loader(batches: Iterable[Any]) -> ImageSet:
    pixels: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in batches:
        parts = list(batch) if isinstance(batch, tuple | list) else [batch]
        if len(parts) not in (1, 2) or not all(isinstance(part, Tensor) for part in parts):
            raise DataError(
                expected="batches of images, or of images and labels, as tensors",
                got=f"{[type(part).__name__ for part in parts]}",
                remedy="Let the loader yield (images, labels).",
            )
        pixels.append(parts[0])
        labels += parts[1:]
    if not pixels:
        raise DataError(expected="batches of images", got="none", remedy="Give a loader that is not empty.")
    return ImageSet.from_array(torch.cat(pixels), torch.cat(labels) if labels else None, name="loader")


def _classifier(
    model: nn.Module | Classifier | str | Path,
    images: ImageSet | None,
    arch: str | None,
    num_classes: int | None,
    declared: Preprocessing,
) -> tuple[Classifier, Source]:
    shape = None if images is None else images.shape
    if isinstance(model, str | Path):
        path = Path(model)
        opened = partial(open_model, path, arch=arch, images_shape=shape, declared=declared, num_classes=num_classes)
        return opened(), Source.of(path, opened)
    if isinstance(model, nn.Module):
        if shape is None:
            raise UsageError(
                expected="images, or a classifier that knows their shape",
                got=f"neither, but a {type(model).__name__}",
                remedy="Give mantrap.models.wrap(module, input_shape=(channels, height, width)).",
            )
        mean, std, pixel_range = declared.over(None)
        model = wrap(model, input_shape=shape, num_classes=num_classes, mean=mean, std=std, pixel_range=pixel_range)
    elif declared != Preprocessing() or num_classes not in (None, model.num_classes):
        raise UsageError(
            expected=f"a classifier of {model.num_classes} classes with its own preprocessing, and nothing beside it",
            got=f"{declared} and num_classes={num_classes}",
            remedy="Leave mean, std, pixel_range and num_classes out, or pass the bare module.",
        )
    return model, Source(type(model.module).__name__, model.digest())


def _floats(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(v) for v in values)
