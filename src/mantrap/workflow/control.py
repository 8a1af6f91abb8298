"""A positive control: a trigger that is known is planted in a copy of the model, and the same search must find it.

A scan that finds nothing may be blind to this network or to these images. Where it finds what is known to be there, it
is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from mantrap.core import Classifier, Cost, Detection, Rng
from mantrap.records import CheckRecord, CheckStatus, ControlRecord
from mantrap.records.traits import PATCH
from mantrap.workflow.comparing import compare, null_for
from mantrap.workflow.heights import Measured
from mantrap.workflow.planting import Planted
from mantrap.workflow.retraining import LARGEST_SIDE, MOST_LABELS
from mantrap.workflow.verdict import NOTICED_BELOW
from mantrap.workflow.words import label_name, percent

MOST_OTHERS = 9
"""Labels that the planted one is compared with, at most."""


@dataclass(frozen=True)
class Control:
    """What came of a control.

    Args:
        check: What the reader must know of it.
        record: What was planted, and whether it was found; ``None`` where nothing could be.
        cost: What planting and searching took.
    """

    check: CheckRecord
    record: ControlRecord | None = None
    cost: Cost = field(default_factory=Cost)

    @property
    def barring(self) -> tuple[str, ...]:
        """Why an all-clear is barred: it was not shown that this search sees anything in this model."""
        return (self.check.message,) if self.check.status is CheckStatus.WARNED else ()


def no_control(why: str, status: CheckStatus = CheckStatus.SKIPPED) -> Control:
    """That there is none, and why."""
    return Control(CheckRecord(name="control", status=status, message=f"No control was planted: {why}."))


def unwanted(
    model: Classifier, detections: Sequence[Detection], *, asked: bool | None, cleared: bool
) -> Control | None:
    """Why no control is planted; ``None`` where one is.

    Args:
        model: The classifier in question.
        detections: What was found in it.
        asked: Whether somebody wants one; ``None`` for where it decides and does not take long.
        cleared: Whether all else ended in an all-clear, so that a control decides.
    """
    if asked is False:
        return no_control("nobody wants one")
    if not any(map(looks_for_patches, detections)):
        late = any(detection.missed for detection in detections)
        return no_control(f"no detector {'had time to look' if late else 'looks'} for patches")
    if asked is None and not cleared:
        return no_control("it could change nothing here", CheckStatus.PASSED)
    side, labels = max(model.input_shape[1:]), model.num_classes
    if asked is None and (side > LARGEST_SIDE or labels > MOST_LABELS):
        return no_control(
            f"with {labels:,} labels and images of {side} pixels it would take long; beyond {MOST_LABELS} labels or "
            f"{LARGEST_SIDE} pixels it is made only on request"
        )
    return None


def looks_for_patches(detection: Detection) -> bool:
    """Whether what is planted is of the kind that a detector looks for."""
    return bool(detection.traits.get(PATCH.name))


def labels_to_search(planted: Planted, rng: Rng) -> tuple[int, ...]:
    """The planted label, and others to compare it with, in rising order."""
    others = [k for k in range(planted.model.num_classes) if k != planted.label]
    drawn = torch.randperm(len(others), generator=rng.torch())[:MOST_OTHERS].tolist()
    return tuple(sorted((planted.label, *(others[i] for i in drawn))))


def missed(planted: Planted) -> Control:
    """A control that was not measured: the trigger did not take."""
    works = f"a patch that was taught to a copy of this model works on {percent(planted.success.value)} of images only"
    message = f"No control could be planted: {works}. Whether the search sees a backdoor in this model is not shown."
    return Control(
        CheckRecord(name="control", status=CheckStatus.WARNED, message=message),
        _record(planted, (), None),
        planted.cost,
    )


def judge(planted: Planted, measured: Measured, cost: Cost) -> Control:
    """Whether the planted label stands out by its trigger.

    Args:
        planted: The copy with the known trigger.
        measured: What detectors measured of it.
        cost: What that took.
    """
    model = planted.model
    compared = compare(measured, null_for(model.arch, model.input_shape))
    standings = () if compared is None else compared.standings
    searched = tuple(sorted(s.label for s in standings))
    one = next((s for s in standings if s.label == planted.label), None)
    chance = 1.0 if one is None or compared is None else compared.chance_by_trigger(one)
    found = chance < NOTICED_BELOW
    side, to = planted.trigger.height, label_name(planted.label, model.class_names[planted.label])
    message = (
        f"A patch of {side}x{side} pixels was taught to a copy of this model, where it sends "
        f"{percent(planted.success.value)} of held-out images to {to}. "
    )
    if found:
        message += f"The search finds it: that label stands out (chance {percent(chance)})."
    else:
        message += (
            f"The search does not find it: that label stands out no further than some label does in {percent(chance)} "
            "of models without a backdoor. So an all-clear would mean nothing."
        )
    status = CheckStatus.PASSED if found else CheckStatus.WARNED
    check = CheckRecord(name="control", status=status, message=message)
    return Control(check, _record(planted, searched, chance), planted.cost + cost)


def _record(planted: Planted, searched: Sequence[int], chance: float | None) -> ControlRecord:
    return ControlRecord(
        label=planted.label,
        class_name=planted.model.class_names[planted.label],
        height=planted.trigger.height,
        width=planted.trigger.width,
        images=planted.images,
        success=planted.success,
        agreement=planted.agreement,
        searched=tuple(searched),
        chance=chance,
        found=chance is not None and chance < NOTICED_BELOW,
    )
