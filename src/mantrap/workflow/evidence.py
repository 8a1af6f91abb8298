"""What a reader sees of a suspect: the trigger, and real images before and after it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mantrap.core import Classifier, Cost, Detection, ImageSet, ReversedTrigger, Rng
from mantrap.detect.natural import rearrange
from mantrap.ops.scores import source_classes
from mantrap.ops.stamp import stamp
from mantrap.records import Example, Prediction, SuspectRecord
from mantrap.workflow.pictures import mask_picture, picture, trigger_picture
from mantrap.workflow.verdict import Joint, Judged

EXAMPLES = 6


def marked(
    detections: Sequence[Detection], judged: Sequence[Sequence[Judged]], joint: Joint | None
) -> list[tuple[str, Judged, ReversedTrigger]]:
    """Detector, judgement and trigger of every label for which a condition of the rule holds, where there is a trigger.

    First what accuses the model, by all detectors together or by its norm, for the headline speaks of the first; then
    the label that all detectors together notice.
    """
    found = joint.label if joint is not None and joint.strong else None
    noticed = joint.label if joint is not None and joint.noticed else None
    named: list[tuple[str, Judged, ReversedTrigger]] = []
    for detection, group in zip(detections, judged, strict=True):
        triggers = {t.target: t for t in detection.triggers}
        chosen = (j for j in group if j.strong or j.weak or j.label == noticed)
        named += [(detection.detector, j, triggers[j.label]) for j in chosen if j.label in triggers]

    def order(one: tuple[str, Judged, ReversedTrigger]) -> tuple[bool, bool]:
        accuses = one[1].strong or (one[1].label == found and one[1].works)
        return (not accuses, one[1].label != noticed)

    return sorted(named, key=order)


def suspect_records(
    model: Classifier,
    heldout: ImageSet,
    suspects: Sequence[tuple[str, Judged, ReversedTrigger]],
    rng: Rng,
) -> tuple[tuple[SuspectRecord, ...], Cost]:
    """A record with pictures for each suspect, and what the pictures cost.

    Args:
        model: The classifier.
        heldout: Images that the search has not seen.
        suspects: Detector, judgement and trigger of each suspect, best first.
        rng: Source of the shuffling of triggers.
    """
    sources = source_classes(model, heldout) if suspects else torch.empty(0, dtype=torch.int64)
    cost = Cost(forward=0 if heldout.labelled or not suspects else len(heldout))
    records: list[SuspectRecord] = []
    for detector, judged, trigger in suspects:
        if judged.success is None:
            continue
        examples = _examples(model, heldout, sources, trigger)
        stream = rng.child("shuffled", detector=detector, target=trigger.target)
        rearranged, checked = rearrange(model, heldout, trigger, sources=sources, rng=stream)
        cost += checked + Cost(forward=2 * len(examples))
        name = model.class_names[trigger.target]
        records.append(
            SuspectRecord(
                label=trigger.target,
                class_name=name,
                detector=detector,
                norm=trigger.norm,
                index=judged.index if abs(judged.index) < float("inf") else None,
                success=judged.success.value,
                success_interval=(judged.success.low, judged.success.high),
                heldout=judged.success.total,
                flagged_by_paper=judged.outlier,
                elsewhere=rearranged.elsewhere,
                shuffled=rearranged.shuffled,
                mask=mask_picture(trigger.mask, f"Mask for label {trigger.target}: white where the trigger is."),
                pattern=picture(trigger.pattern, f"Pattern for label {trigger.target}."),
                trigger=trigger_picture(
                    trigger.mask, trigger.pattern, f"Trigger for label {trigger.target}: the pattern through the mask."
                ),
                examples=examples,
            )
        )
    return tuple(records), cost


def _examples(model: Classifier, heldout: ImageSet, sources: Tensor, trigger: ReversedTrigger) -> tuple[Example, ...]:
    """Images of other classes, from as many as possible: the first ones, whether the trigger works on them or not."""
    chosen = _one_of_each(sources.tolist(), trigger.target)
    before = heldout.images(chosen).to(model.device)
    after = stamp(before, trigger.mask.to(model.device), trigger.pattern.to(model.device))
    with model.frozen(), torch.no_grad():
        first, second = (model.logits(batch).softmax(1).cpu() for batch in (before, after))
    examples: list[Example] = []
    for place, i in enumerate(chosen):
        truth = None if heldout.labels is None else model.class_names[int(heldout.labels[i])]
        shown = f"image {i + 1}" if truth is None else f"an image of {truth}"
        examples.append(
            Example(
                before=picture(before[place], f"Before: {shown}."),
                after=picture(after[place], f"After: {shown} with the trigger."),
                source=_prediction(model, first[place]),
                outcome=_prediction(model, second[place]),
                true_class=truth,
            )
        )
    return tuple(examples)


def _one_of_each(sources: Sequence[int], target: int) -> list[int]:
    """Indices of up to six images that are not of the target's class, from as many classes as possible."""
    rounds: dict[int, int] = {}
    order: list[tuple[int, int]] = []
    for i, source in enumerate(sources):
        if source != target:
            order.append((rounds.get(source, 0), i))
            rounds[source] = rounds.get(source, 0) + 1
    return [i for _, i in sorted(order)[:EXAMPLES]]


def _prediction(model: Classifier, confidences: Tensor) -> Prediction:
    label = int(confidences.argmax())
    return Prediction(label=label, class_name=model.class_names[label], confidence=float(confidences[label]))
