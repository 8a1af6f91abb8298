"""A copy of the model, retrained for a moment on clean images: what labels owe to the images they keep there.

How easily a label is forced depends on the task as well. A copy of the same weights shares that, but what came in with
poisoned images alone, and serves no clean one, is lost when the last layer has to be learned again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from mantrap.core import Classifier, Cost, Detection, Detector, ImageSet, OutOfTime, Pair, Progress, Rng
from mantrap.errors import MantrapError
from mantrap.ops.features import last_linear
from mantrap.ops.intervals import wilson
from mantrap.ops.scores import predictions
from mantrap.records import CheckRecord, CheckStatus, Rate
from mantrap.records.traits import TRAITS
from mantrap.training import Recipe, fit, trainable
from mantrap.workflow.comparing import compare, null_for
from mantrap.workflow.heights import Measured
from mantrap.workflow.words import percent

CLOSER_BELOW = 0.3
"""Chance that some label stands out as far, from which a copy of an ordinary model would only cost time."""
MOST_LABELS = 100
LARGEST_SIDE = 64
"""Beyond these a copy takes longer than a search is worth, unless somebody asks for it."""
_FEWEST_IMAGES = 64
_MOST_IMAGES = 450
_UPDATES = 420
_BATCH = 32
_FEWEST_OF_A_LABEL = 3
_AGREES_FROM = 0.6


@dataclass(frozen=True)
class Copied:
    """What came of the copy.

    Args:
        check: What the reader must know of it.
        model: The copy; ``None`` where there is none.
        agreement: Share of held-out images that it answers as the model does.
        images: How many it was retrained on.
        unsure: Labels of which it saw hardly an image.
        measured: What detectors measured of it; ``None`` where there was no time for that, or nothing to measure.
        pairs: What pairs of classes needed there, where they were scanned.
        cost: What retraining and measuring took.
    """

    check: CheckRecord
    model: Classifier | None = None
    agreement: Rate | None = None
    images: int = 0
    unsure: tuple[int, ...] = ()
    measured: Measured | None = None
    pairs: Mapping[Pair, float] | None = None
    cost: Cost = field(default_factory=Cost)


def told_by_search(detection: Detection) -> bool:
    """Whether a detector's traits can be compared with a copy's: those of its last layer, which is new, cannot."""
    return any(name in TRAITS and not TRAITS[name].least for name in detection.traits)


def no_copy(why: str, status: CheckStatus = CheckStatus.SKIPPED) -> Copied:
    """That there is none, and why."""
    return Copied(CheckRecord(name="copy", status=status, message=f"No copy was retrained: {why}."))


def unwanted(
    model: Classifier, scan: ImageSet, detections: Sequence[Detection], *, asked: bool | None
) -> Copied | None:
    """Why no copy is retrained; ``None`` where one is.

    Args:
        model: The classifier in question.
        scan: Images to retrain on.
        detections: What was found in the model.
        asked: Whether somebody wants one; ``None`` for where it is cheap and there is reason to look closer.
    """
    if asked is False:
        return no_copy("nobody wants one", CheckStatus.PASSED)
    if not any(map(_told_again, detections)):
        return no_copy("no detector measures what it shows", CheckStatus.PASSED)
    if any(d.population is not None for d in detections):
        return no_copy("not all labels were searched to the end, so they cannot be compared with those of a copy")
    if not any(measured_again(model, detections, asked=asked)):
        return no_copy("no label stands out so far that it matters", CheckStatus.PASSED)
    why = _impossible(model, scan, asked=asked is True)
    return no_copy(why) if why else None


def measured_again(model: Classifier, detections: Sequence[Detection], *, asked: bool | None) -> list[bool]:
    """Which detectors look at the copy too: those of pairs, which say nothing without it, others where it matters."""
    closer = asked is True or _looks_closer(model, detections)
    return [d.pairs is not None or (closer and told_by_search(d)) for d in detections]


def _told_again(detection: Detection) -> bool:
    return detection.pairs is not None or told_by_search(detection)


def not_worth_a_look(detector: Detector, model: Classifier, scan: ImageSet, *, copy: bool | None) -> str:
    """Why a detector would say nothing for want of a copy; empty where it may say something.

    Args:
        detector: Who would look.
        model: The classifier in question.
        scan: Images to retrain on.
        copy: Whether somebody wants a copy.
    """
    if not getattr(detector, "needs_copy", False):
        return ""
    return "nobody wants the copy that it needs" if copy is False else _impossible(model, scan, asked=copy is True)


def _impossible(model: Classifier, scan: ImageSet, *, asked: bool) -> str:
    """Why no copy can be made, or would take too long; empty where one can."""
    if len(scan) < _FEWEST_IMAGES:
        return f"{_FEWEST_IMAGES} images are needed, and there are {len(scan)} to search with"
    if _last_layer(model) is None:
        return "the network does not end in a linear layer with an output for each label"
    side, labels = max(model.input_shape[1:]), model.num_classes
    if not asked and (side > LARGEST_SIDE or labels > MOST_LABELS):
        return (
            f"with {labels:,} labels and images of {side} pixels it would take long; beyond {MOST_LABELS} labels or "
            f"{LARGEST_SIDE} pixels it is made only on request"
        )
    return ""


def _looks_closer(model: Classifier, detections: Sequence[Detection]) -> bool:
    """Whether some label stands out so far that a copy could make it a finding."""
    compared = compare([d.traits for d in detections], null_for(model.arch, model.input_shape))
    return compared is not None and compared.chance_of(compared.first) < CLOSER_BELOW


def retrain(model: Classifier, scan: ImageSet, heldout: ImageSet, *, rng: Rng, progress: Progress) -> Copied:
    """Learn the last layer anew, and the others with it, from clean images.

    Args:
        model: The classifier; it stays as it is.
        scan: Images to retrain on, with their labels, or with the model's answers where they have none.
        heldout: Images on which the copy is compared with the model.
        rng: Source of the new layer's weights, and of the order of images.
        progress: Observer of the work.

    Returns:
        The copy; none where the loss was not finite, or it answers held-out images otherwise than the model.

    Raises:
        OutOfTime: The observer has waited long enough.

    Reference: Min, Qin, Shen and Cheng, Towards Stable Backdoor Purification through Feature Shift Tuning, NeurIPS
    2023, for learning the last layer anew with all others. Deviations: Adam, and no penalty.
    """
    place = torch.randperm(len(scan), generator=rng.child("images").torch())[:_MOST_IMAGES]
    if len(place) % _BATCH == 1:  # a batch of one has no statistics
        place = place[:-1]
    some = scan.subset(place.tolist())
    steps = math.ceil(len(some) / _BATCH)
    recipe = Recipe(
        epochs=math.ceil(_UPDATES / steps), batch_size=_BATCH, optimizer="adam(lr=0.001)", schedule="cosine()"
    )
    own = predictions(model, heldout)
    learned = some if some.labelled else some.with_labels(predictions(model, some))
    try:
        with torch.enable_grad():
            start = _fresh(model, rng.child("layer"))
            made = fit(start, learned, recipe=recipe, rng=rng.child("fit"), progress=progress).model
        same = wilson(int((predictions(made, heldout) == own).sum()), len(heldout))
    except OutOfTime:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a network does while it learns, the audit goes on without
        return no_copy(f"training it ended in {short(error)}")
    assert learned.labels is not None
    counts = torch.bincount(learned.labels, minlength=model.num_classes)
    unsure = tuple((counts < _FEWEST_OF_A_LABEL).nonzero().flatten().tolist())
    seen = recipe.epochs * len(some)
    cost = Cost(forward=seen + (0 if some.labelled else len(some)) + 2 * len(heldout), backward=seen)
    alike = f"It answers {percent(same.value)} of held-out images as the model does"
    if same.value < _AGREES_FROM:
        message = f"{alike}, and is not compared with it: {percent(_AGREES_FROM, 0)} are needed."
        return Copied(CheckRecord(name="copy", status=CheckStatus.SKIPPED, message=message), cost=cost)
    message = f"A copy was retrained on {len(some)} images. {alike}."
    check = CheckRecord(name="copy", status=CheckStatus.PASSED, message=message)
    return Copied(check, made, same, len(some), unsure, cost=cost)


def short(error: Exception) -> str:
    """An error in few words."""
    if isinstance(error, MantrapError):
        return f"{error.got}, where {error.expected} was expected"
    said = str(error).partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _last_layer(model: Classifier) -> str | None:
    """The name of the linear layer with an output for each label that ends a network; ``None`` where there is none."""
    with model.frozen():
        layer = last_linear(model)
    return next((name for name, module in model.module.named_modules() if module is layer), None)


def _fresh(model: Classifier, rng: Rng) -> Classifier:
    """The model, all of which can be trained, with a new last layer whose weights are as large as the old ones."""
    name = _last_layer(model)
    assert name is not None
    fresh = trainable(model)
    old = fresh.module.get_submodule(name)
    assert isinstance(old, nn.Linear)
    weights = old.weight.detach()
    new = nn.utils.skip_init(nn.Linear, old.in_features, old.out_features, device=weights.device, dtype=weights.dtype)
    with torch.no_grad():
        new.weight.copy_(torch.randn(weights.shape, generator=rng.torch()) * weights.std().cpu())
        new.bias.zero_()
    above, _, own = name.rpartition(".")
    if name:
        setattr(fresh.module.get_submodule(above), own, new)
    else:
        fresh.module = new
    return fresh
