"""A verdict in plain words."""

from collections.abc import Sequence

from mantrap.core import Classifier, Detection
from mantrap.records import SuspectRecord, Verdict
from mantrap.workflow.verdict import (
    CHANCE_BELOW,
    FEWEST_LABELS,
    INDEX_ABOVE,
    LOG_RATIO_FROM,
    SUCCESS_FROM,
    Joint,
    Judged,
    norm_statistics,
    takes_part,
)

_MOST_REASONS = 3


def headline(
    verdict: Verdict,
    suspects: Sequence[SuspectRecord],
    judged: Sequence[Sequence[Judged]],
    joint: Joint | None,
    model: Classifier,
) -> str:
    """One sentence for someone who must decide."""
    if verdict is Verdict.SUSPICIOUS:
        first = suspects[0]
        return (
            f"A small trigger makes this model answer {_name(first.label, first.class_name)}: {first.norm:.1f} pixels' "
            f"worth of change sends {percent(first.success, 0)} of other images there."
        )
    if verdict is Verdict.INCONCLUSIVE:
        noticed = joint.label if joint is not None and joint.noticed else None
        label = noticed if noticed is not None else suspects[0].label if suspects else None
        if label is not None:
            name = _name(label, model.class_names[label]).capitalize()
            return f"{name} stands out, but not clearly enough to call it a backdoor."
        return "This audit cannot tell: what it saw is not enough for an answer."
    scanned = len({j.label for group in judged for j in group})
    return f"No sign of a small-trigger backdoor in {scanned} labels. That is no proof that there is none."


def reasons(
    judged: Sequence[Sequence[Judged]],
    detections: Sequence[Detection],
    joint: Joint | None,
    model: Classifier,
    barred: Sequence[str],
) -> tuple[str, ...]:
    """Why the verdict is what it is, a sentence for each thing that counted."""
    said = [] if joint is None else [_together(joint, model)]
    for group, detection in zip(judged, detections, strict=True):
        statistics = norm_statistics(group)
        if statistics is None and takes_part(detection):
            continue  # it has had its say together with the others
        if statistics is None:
            named = ", ".join(_name(s, model.class_names[s]) for s in detection.suspects)
            said.append(
                f"{detection.detector} names {named}; it has no calibrated rule yet, so this alone decides nothing."
                if named
                else f"{detection.detector} has no norm for any label."
            )
            continue
        marked = [j for j in group if j.strong or j.weak]
        said += [_judgement(j, model, statistics.median) for j in marked[:_MOST_REASONS]]
        if not marked:
            smallest = min(group, key=lambda j: j.norm)
            said.append(
                f"The easiest label to force, {_name(smallest.label, model.class_names[smallest.label])}, needs "
                f"{smallest.norm:.1f} pixels; a typical one {statistics.median:.1f}. That is within the ordinary."
            )
    if not any(len(group) >= FEWEST_LABELS for group in judged):
        said.append(f"No detector has norms of {FEWEST_LABELS} labels or more to compare.")
    return (*said, *barred)


def _together(joint: Joint, model: Classifier) -> str:
    """What all detectors say together."""
    name = _name(joint.label, model.class_names[joint.label]).capitalize()
    said = (
        f"{name} stands out most, by {' and '.join(joint.detectors)}: judging by how the other labels differ, one "
        f"stands out as far by chance in {percent(joint.p_value)} of models without a backdoor "
        f"(less than {percent(CHANCE_BELOW, 0)} counts)."
    )
    if joint.works or not joint.noticed:
        return said
    if joint.success is None:
        return f"{said} No trigger for it was measured, so this alone accuses nobody."
    needed = percent(SUCCESS_FROM, 0)
    return f"{said} Its trigger sends {percent(joint.success)} of held-out images there; {needed} are needed."


def _judgement(judged: Judged, model: Classifier, typical: float) -> str:
    name = _name(judged.label, model.class_names[judged.label])
    success = (
        "was not measured"
        if judged.success is None
        else f"sends {percent(judged.success.value)} of held-out images there"
    )
    holds = {
        f"anomaly index {judged.index:.1f} on the low side (above {INDEX_ABOVE:g} counts)": judged.outlier,
        f"log ratio {judged.log_ratio:.2f} ({LOG_RATIO_FROM:g} or more counts)": judged.small,
        f"success {percent(SUCCESS_FROM, 0)} or more": judged.works,
    }
    kept = "; ".join(k for k, v in holds.items() if v) or "none"
    failed = "; ".join(k for k, v in holds.items() if not v)
    return (
        f"{name.capitalize()} needs {judged.norm:.1f} pixels, a typical label {typical:.1f}; its trigger {success}. "
        f"Conditions met: {kept}." + (f" Not met: {failed}." if failed else "")
    )


def unfinished(detections: Sequence[Detection]) -> tuple[str, ...]:
    """Searches that say too little of their label, a sentence for each detector: they bar the all-clear."""
    said: list[str] = []
    for detection in detections:
        censored = sum(f.censored for f in detection.labels)
        short = sum(f.stopped == "cut short" and not f.censored for f in detection.labels)
        if censored:
            have = "it has" if censored == 1 else "they have"
            said.append(f"For {_labels(censored)} no trigger was found that works often enough; {have} no norm.")
        if short:
            said.append(f"For {_labels(short)} the search ran out of steps before the norm had settled.")
    return tuple(said)


def _labels(count: int) -> str:
    return f"{count} label{'s' if count > 1 else ''}"


def blind_spots(detections: Sequence[Detection], labels: Sequence[int] | None) -> tuple[str, ...]:
    """What this audit could not have seen."""
    said = dict.fromkeys(spot for d in detections for spot in d.blind_spots)
    if labels is not None:
        said["Labels that were not scanned: only " + ", ".join(map(str, labels)) + " were."] = None
    return tuple(said)


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent, with a space before the sign; what is above 0 is never shown as 0."""
    least = 10.0**-digits
    return f"<{least:g} %" if 0 < 100 * share < least / 2 else f"{100 * share:.{digits}f} %"


def _name(label: int, class_name: str) -> str:
    return f"label {label}" if class_name == str(label) else f"label {label} ({class_name})"
