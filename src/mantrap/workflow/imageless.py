"""An audit without images: detectors that look at none have their say, and nothing is cleared."""

import dataclasses

import torch

from mantrap.core import Classifier, Cost, Detector, ImageSet, Rng
from mantrap.errors import UsageError
from mantrap.records import CheckRecord, CheckStatus, DataRecord
from mantrap.workflow.checks import Checked, outputs_passed
from mantrap.workflow.plan import Plan

NONE = "none"
"""What images are called that are not there."""
_STAND_INS = 64


def looks_at_images(detector: Detector) -> bool:
    """Whether a detector needs images, which is so unless it says otherwise."""
    return bool(getattr(detector, "needs_images", True))


def without_images(plan: Plan) -> Plan:
    """The plan without detectors that need images; of these there will be no copy and no control either.

    Raises:
        UsageError: No detector is left.
    """
    kept = tuple(d for d in plan.detectors if not looks_at_images(d))
    if not kept:
        raise UsageError(
            expected="images, or a detector that needs none",
            got=f"no images, and {', '.join(d.name for d in plan.detectors)}",
            remedy="Give clean images, or name mm_bd or last_layer.",
        )
    left_out = tuple(d.name for d in plan.detectors if looks_at_images(d))
    return dataclasses.replace(plan, detectors=kept, if_time=(), left_out=left_out)


def stand_ins(model: Classifier) -> ImageSet:
    """Noise in the place of images, to see whether a model answers at all; no detector looks at it."""
    noise = torch.rand(_STAND_INS, *model.input_shape, generator=Rng(0).child("stand-ins").torch())
    return ImageSet.from_array(noise, name=NONE)


def check_none(left_out: tuple[str, ...]) -> Checked:
    """What there is to say where images are checked, of which there are none."""
    message = "No images were given. Triggers can neither be searched for nor measured, so nothing is cleared"
    message += f"; left out: {', '.join(left_out)}." if left_out else "."
    number = CheckRecord(name="number of images", status=CheckStatus.WARNED, message=message)
    return Checked((number, outputs_passed("noise")), (message,), Cost())


def no_data() -> DataRecord:
    """The record of images that were not there."""
    return DataRecord(
        name=NONE,
        digest="",
        images=0,
        labelled=False,
        scan_images=0,
        scan_digest="",
        heldout_images=0,
        heldout_digest="",
    )
