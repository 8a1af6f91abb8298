"""How well a planted backdoor works: the one place that reads the truth."""

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.core.truth import GroundTruth
from mantrap.errors import UsageError
from mantrap.ops.scores import trigger_success
from mantrap.poison import TRIGGERS
from mantrap.records import Rate


def attack_success(model: Classifier, images: ImageSet, truth: GroundTruth) -> Rate:
    """Share of clean images of other classes that the true trigger sends to the true target.

    Args:
        model: The backdoored classifier.
        images: Clean test images, best with labels; images of the target class do not count.
        truth: What was planted.

    Returns:
        The rate with its Wilson interval.

    Raises:
        UsageError: The backdoor has no single target.
    """
    if truth.target is None:
        raise UsageError(
            expected="a backdoor with one target", got=truth.relabelling, remedy="Measure all-to-one backdoors only."
        )
    trigger, rng = TRIGGERS.create(truth.trigger), Rng(truth.seed).child("measure")
    return trigger_success(model, images, lambda batch: trigger(batch, rng=rng), truth.target)
