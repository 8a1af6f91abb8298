"""What a planted backdoor does, measured."""

from mantrap.records.audit import Rate
from mantrap.records.base import Record


class Stealth(Record):
    """How visible a trigger is, as means over ``images`` test images; pixels are in [0, 1].

    ``psnr`` is in dB and ``None`` where an image was not changed at all; ``largest_change`` is the largest of any
    pixel of any image, ``l2`` the mean Euclidean norm of the change.
    """

    images: int
    ssim: float
    psnr: float | None
    largest_change: float
    l2: float


class AttackMeasure(Record):
    """What one planted backdoor does to clean test images.

    ``success`` is over the images it is aimed at; ``robust_accuracy`` is the share of the same that keep their class
    under the trigger; ``clean_model_success`` is what the trigger does to a model without the backdoor;
    ``bystanders`` is how often it sends images there that it is not aimed at, where there are such images.
    """

    trigger: str
    relabelling: str
    target: int | None
    success: Rate
    robust_accuracy: Rate
    clean_model_success: Rate | None
    bystanders: Rate | None
    stealth: Stealth
