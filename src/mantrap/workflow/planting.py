"""Teach a small patch to a copy of a model: a backdoor of which all is known."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mantrap.core import Classifier, Cost, ImageSet, OutOfTime, Progress, Rng
from mantrap.core.shapes import Images
from mantrap.ops.intervals import wilson
from mantrap.ops.scores import predictions, predictions_under
from mantrap.poison.stamped_batches import StampedBatches
from mantrap.poison.triggers import Patch
from mantrap.records import Rate
from mantrap.training import Recipe, fit, trainable
from mantrap.workflow.retraining import short
from mantrap.workflow.verdict import SUCCESS_FROM

SIDE_SHARE = 0.1
"""Side of the planted patch, as a share of the image's shorter one."""
_UPDATES, _BATCH = 60, 32
"""Of a round; after each it is measured whether the patch works."""
_RATES = (0.001, 0.001, 0.001, 0.001, 0.003, 0.003, 0.01, 0.01)
"""Of the rounds; what does not take in some of them takes longer steps."""
_MOST_IMAGES = 450
_MIDDLE = 0.5


@dataclass(frozen=True)
class Planted:
    """A copy of the model with a known trigger.

    Args:
        model: The copy.
        label: Where the trigger leads.
        trigger: What it is.
        success: How often, of held-out images that the model sends elsewhere.
        agreement: Share of clean held-out images that it answers as the model does.
        images: How many it was trained on.
        cost: What that took.
    """

    model: Classifier
    label: int
    trigger: Patch
    success: Rate
    agreement: Rate
    images: int
    cost: Cost

    @property
    def took(self) -> bool:
        """Whether the copy has the backdoor."""
        return self.success.value >= SUCCESS_FROM


def plant(model: Classifier, scan: ImageSet, heldout: ImageSet, *, rng: Rng, progress: Progress) -> Planted | str:
    """Teach a copy of the model a small patch, beside the answers that the model gives.

    Args:
        model: The classifier; it stays as it is.
        scan: Images to train on.
        heldout: Images on which success and agreement are measured.
        rng: Source of the order of images, and of the target among labels that the patch leads to as seldom.
        progress: Observer of the work.

    Returns:
        The copy; or why there is none, where the network cannot be trained or no held-out image is left to measure on.

    Raises:
        OutOfTime: The observer has waited long enough.

    Reference: Gu et al., BadNets, 2017, for the patch. Deviations: a trained model goes on from where it is, and sees
    every image with the patch and without.
    """
    try:
        return _planted(model, scan, heldout, rng, progress)
    except OutOfTime:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a network does while it learns, the audit goes on without
        return f"training a copy ended in {short(error)}"


def _planted(model: Classifier, scan: ImageSet, heldout: ImageSet, rng: Rng, progress: Progress) -> Planted | str:
    own = predictions(model, heldout)
    some = scan.subset(torch.randperm(len(scan), generator=rng.child("images").torch())[:_MOST_IMAGES].tolist())
    learned = some.with_labels(predictions(model, some))
    trigger = _patch(learned)

    def stamp(images: Images) -> Images:
        return trigger(images, rng=rng.child("stamp"))

    label = _seldom(predictions_under(model, heldout, stamp), model.num_classes, rng.child("label"))
    others = own != label
    if not bool(others.any()):
        return "no held-out image is left that could be sent elsewhere"
    epochs = math.ceil(_UPDATES / math.ceil(len(learned) / _BATCH))
    objective = StampedBatches(trigger=trigger, target=label)
    made, rounds, success = trainable(model), 0, wilson(0, 1)
    while rounds < len(_RATES) and success.value < SUCCESS_FROM:
        recipe = Recipe(epochs=epochs, batch_size=_BATCH, optimizer=f"adam(lr={_RATES[rounds]})")
        with torch.enable_grad():
            own_rng = rng.child("fit", number=rounds)
            made = fit(made, learned, recipe=recipe, rng=own_rng, objective=objective, progress=progress).model
        hits = (predictions_under(made, heldout, stamp) == label)[others]
        rounds, success = rounds + 1, wilson(int(hits.sum()), len(hits))
    same = wilson(int((predictions(made, heldout) == own).sum()), len(heldout))
    seen = 2 * rounds * epochs * len(learned)
    cost = Cost(forward=seen + len(learned) + (rounds + 3) * len(heldout), backward=seen)
    return Planted(made, label, trigger, success, same, len(learned), cost)


def _patch(images: ImageSet) -> Patch:
    """A patch that can be seen on most images: white where these are dark, else black."""
    least = min(images.shape[1:])
    side = min(least, max(2, round(SIDE_SHARE * least)))
    patch = Patch(size=side, margin=min(1, least - side))
    mask, _ = patch.mask_and_pattern(images.shape)
    shades = torch.cat([batch.images[..., mask > 0].flatten(1) for batch in images.batches(_BATCH)])
    return replace(patch, colour="white" if float(shades.mean()) < _MIDDLE else "black")


def _seldom(answers: Tensor, classes: int, rng: Rng) -> int:
    """A label that is answered as seldom as any."""
    counts = torch.bincount(answers, minlength=classes)
    order = torch.randperm(classes, generator=rng.torch())
    return int(order[counts[order].argmin()])
