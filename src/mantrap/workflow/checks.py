"""What can be said of the inputs before any scan, and what of it bars an all-clear."""

from dataclasses import dataclass

from mantrap.core import Classifier, Cost, ImageSet
from mantrap.ops.scores import accuracy
from mantrap.records import CheckRecord, CheckStatus, Rate
from mantrap.workflow.words import percent

FEWEST_IMAGES = 100
"""Fewer images than this say too little for NO_EVIDENCE."""

LOWEST_ACCURACY = 0.5
"""A model that is surely less accurate than this was probably not understood."""


@dataclass(frozen=True)
class Checked:
    """The checks, the reasons among them that bar NO_EVIDENCE, and what they cost.

    ``knows`` is whether the model may have learned its task at all; where it surely has not, it is not accused.
    """

    checks: tuple[CheckRecord, ...]
    barring: tuple[str, ...]
    cost: Cost
    knows: bool = True


def check_images(model: Classifier, images: ImageSet) -> Checked:
    """Look at number, doubles and accuracy of the clean images; nothing here refuses, it warns."""
    checks = [_number(images), _doubles(images), outputs_passed("the image")]
    cost, knows = Cost(), True
    if images.labelled:
        rate = accuracy(model, images)
        knows = rate.low > _guessed(images)
        checks.append(_accuracy(rate, knows=knows))
        cost = Cost(forward=len(images))
    else:
        checks.append(
            CheckRecord(
                name="clean accuracy",
                status=CheckStatus.SKIPPED,
                message="The images have no labels: the accuracy could not be checked, and the model's own answer "
                "stands for each image's class.",
            )
        )
    barring = tuple(c.message for c in checks if c.status is CheckStatus.WARNED and c.name in _BARRING)
    return Checked(tuple(checks), barring, cost, knows)


_BARRING = ("number of images", "clean accuracy")


def _number(images: ImageSet) -> CheckRecord:
    different = len(set(images.content_hashes))
    few = different < FEWEST_IMAGES
    message = f"{different} different images" + (
        f": fewer than {FEWEST_IMAGES} say too little for an all-clear." if few else "."
    )
    return CheckRecord(
        name="number of images", status=CheckStatus.WARNED if few else CheckStatus.PASSED, message=message
    )


def _doubles(images: ImageSet) -> CheckRecord:
    doubles = len(images) - len(set(images.content_hashes))
    return CheckRecord(
        name="doubles",
        status=CheckStatus.WARNED if doubles else CheckStatus.PASSED,
        message=f"{doubles} images are copies of others; copies are kept on one side of the split."
        if doubles
        else "No image is in the set twice.",
    )


def outputs_passed(what: str) -> CheckRecord:
    """That the outputs can be worked with, and what they depend on."""
    return CheckRecord(
        name="outputs",
        status=CheckStatus.PASSED,
        message=f"The outputs are finite logits, not probabilities, and depend on {what}.",
    )


def _guessed(images: ImageSet) -> float:
    """The accuracy of one answer for all images; of images of one class hardly, that would ask too much."""
    assert images.labels is not None
    return min(LOWEST_ACCURACY, float(images.labels.bincount().max()) / len(images))


def _accuracy(rate: Rate, *, knows: bool) -> CheckRecord:
    low = rate.high < LOWEST_ACCURACY or not knows
    message = (
        f"The model is right on {rate.hits} of {rate.total} clean images "
        f"({percent(rate.value)}, 95 % interval {percent(rate.low)} to {percent(rate.high)})."
    )
    if low:
        message += " That is so little that preprocessing or classes are probably not as declared; a scan of a model "
        message += "that is not understood says nothing."
    if not knows:
        message += " It is not surely better than the same answer for every image: what a trigger does to such a model "
        message += "accuses nobody."
    return CheckRecord(name="clean accuracy", status=CheckStatus.WARNED if low else CheckStatus.PASSED, message=message)
