"""A verdict in plain words."""

import math
from collections.abc import Sequence

from mantrap.core import Classifier, Detection, ReversedPatch, ReversedTrigger, ReversedWarp
from mantrap.detect.blind_spots import SHARED
from mantrap.records import CheckRecord, CheckStatus
from mantrap.workflow.budget import spoken
from mantrap.workflow.comparing import LEVEL_SHARE, Compared
from mantrap.workflow.eyes import Part
from mantrap.workflow.pairing import Paired
from mantrap.workflow.shifting import SHIFT_SHARE
from mantrap.workflow.verdict import (
    CHANCE_BELOW,
    MOVED_FROM,
    NOTICED_BELOW,
    PAIR_SHARE,
    PAIR_WORKS_FROM,
    SUCCESS_FROM,
    Accused,
    Moved,
    counts,
)

_ORDINARY = 0.5
_SAID_BELOW = 0.1
"""Traits by which an ordinary label seldom stands as high are named."""


def size_of(trigger: ReversedTrigger) -> str:
    """How large a trigger is, in words."""
    if isinstance(trigger, ReversedPatch):
        return f"{trigger.norm:.1f} pixels' worth of change"
    if isinstance(trigger, ReversedWarp):
        return f"a smooth warp by about {trigger.norm:.1f} pixels"
    spread = trigger.norm / math.sqrt(trigger.delta.numel())
    return f"a change of all pixels by {percent(spread)} of their range"


def reasons(
    detections: Sequence[Detection],
    compared: Compared | None,
    accused: Accused | None,
    moved: Moved | None,
    paired: Paired | None,
    model: Classifier,
    barred: Sequence[str],
) -> tuple[str, ...]:
    """Why the verdict is what it is, a sentence for each thing that counted."""
    said = [*_moved(moved, model), *_paired(paired, model)]
    if compared is None or accused is None:
        said.append("No detector measured anything of single labels that is known of models without a backdoor.")
    else:
        said += [_standing(compared, accused, model), *_trigger(accused), *_level(compared)]
    for detection in detections:
        if detection.suspects and not counts(detection):
            named = ", ".join(label_name(s, model.class_names[s]) for s in detection.suspects)
            said.append(
                f"{detection.detector} names {named}; it has no calibrated rule, so this alone decides nothing."
            )
    return (*said, *barred)


def _standing(compared: Compared, accused: Accused, model: Classifier) -> str:
    """What all detectors say together of the label that stands out most."""
    first = accused.standing
    if accused.p_value > _ORDINARY:
        return (
            f"No label stands out among {len(compared.standings)}: in most models without a backdoor one does as far."
        )
    name = begin(label_name(first.label, model.class_names[first.label]))
    seldom = sorted((p for p in first.parts if p.chance < _SAID_BELOW), key=lambda p: p.chance)
    by = ", ".join(f"{p.trait.of} ({_share(p)} of ordinary labels)" for p in seldom) or "no single thing"
    return (
        f"{name} stands out most, by {by}. Taken together and over {len(compared.standings)} labels, one stands out as "
        f"far by chance in {percent(compared.chance_of(first))} of models without a backdoor (less than "
        f"{percent(CHANCE_BELOW, 0)} counts)."
    )


def _share(part: Part) -> str:
    """A chance in per cent; of one that is at the least that a trait may claim no more is known."""
    least = part.trait.least
    return f"at most {percent(least)}" if least and part.chance <= 1.001 * least else percent(part.chance)


def _trigger(accused: Accused) -> tuple[str, ...]:
    """What the trigger of the label that stands out does, where this matters."""
    if not accused.noticed:
        return ()
    if accused.success is None:
        return ("No trigger for it was measured, so this alone accuses nobody.",)
    share, needed = percent(accused.success), percent(SUCCESS_FROM, 0)
    if accused.works and not accused.small:
        some = f"In {percent(accused.by_trigger)} of models without a backdoor some label needs as small a trigger. "
        return (some + "The rest may come of honest training on unequal classes: no accusation.",)
    if accused.works:
        return (f"Its trigger sends {share} of held-out images there.",)
    return (f"Its trigger sends {share} of held-out images there; {needed} are needed.",)


def _moved(moved: Moved | None, model: Classifier) -> tuple[str, ...]:
    """Whether every class is sent to another one."""
    if moved is None or not moved.noticed:
        return ()
    to, seldom = further_on(moved.shifted.by, model.num_classes), percent(moved.shifted.alone)
    said = (
        f"A patch sends {percent(moved.success)} of held-out images from their class to {to}. In {seldom} of models "
        "without a backdoor classes are taken for one another as easily."
    )
    if moved.success < MOVED_FROM:
        return (said, f"For an accusation it would have to be {percent(MOVED_FROM, 0)} of them.")
    if not moved.strong:
        return (
            said,
            f"For an accusation that would have to be less than {percent(CHANCE_BELOW * SHIFT_SHARE)} of models.",
        )
    return (said,)


def _paired(paired: Paired | None, model: Classifier) -> tuple[str, ...]:
    """Whether one class is taken for another."""
    if paired is None or not paired.noticed:
        return ()
    times = f"a patch {math.exp(paired.first.easier):.1f} times smaller than a copy of it leads to expect"
    said = (
        f"To take {between(paired, model)} this model needs {times}. By chance some pair of classes stands out as far "
        f"in {percent(paired.alone(paired.first))} of models without a backdoor (less than "
        f"{percent(CHANCE_BELOW * PAIR_SHARE)} counts)."
    )
    if paired.works:
        return (said, f"The patch works on {share_of(paired)} of held-out images of that class.")
    needed = percent(PAIR_WORKS_FROM, 0)
    return (said, f"Its patch works on {share_of(paired)} of such images: not surely on {needed}, as is needed.")


def between(paired: Paired, model: Classifier) -> str:
    """Which class is taken for which."""
    source, target = (label_name(k, model.class_names[k]) for k in (paired.first.source, paired.first.target))
    return f"{source} for {target}"


def share_of(paired: Paired) -> str:
    """Of how many images of the class the patch does it."""
    return "no part" if paired.success is None else percent(paired.success.value, 0)


def further_on(by: int, classes: int) -> str:
    """The class so many further on, or back where that is nearer, in words; after the last comes the first."""
    if 2 * by <= classes:
        return "the next" if by == 1 else f"the one {by} further on"
    return "the one before" if by == classes - 1 else f"the one {classes - by} back"


def _level(compared: Compared) -> tuple[str, ...]:
    """Whether all labels together are too easy to force."""
    if compared.level >= NOTICED_BELOW:
        return ()
    share = percent(compared.level * LEVEL_SHARE)
    said = f"All labels are easy to force: as easy as in {share} of models without a backdoor. "
    return (said + "That is what a backdoor for every label looks like.",)


def unfinished(detections: Sequence[Detection]) -> tuple[str, ...]:
    """Searches that say too little, a sentence for each detector: they bar the all-clear.

    A label for which no trigger is found is an ordinary sight; a search that finds none for most labels has failed.
    """
    said: list[str] = []
    for detection in detections:
        asked = [f for f in detection.labels if detection.population is None or f.label in detection.population]
        censored = sum(f.censored for f in asked)
        short = sum(f.stopped == "cut short" and not f.censored for f in detection.labels)
        if 2 * censored > len(asked):
            drawn = "" if detection.population is None else " that were drawn at random"
            said.append(
                f"{detection.detector} found no trigger for {censored} of {len(asked)} labels{drawn}: it could not "
                "search this model."
            )
        if short:
            said.append(f"For {_labels(short)} the search ran out of steps before the norm had settled.")
    return tuple(said)


def out_of_time(detection: Detection, labels: int, estimate: float | None) -> str:
    """How far a detector came in the time that it had, of so many labels that it was to look at."""
    reached = labels - min(detection.missed, labels)
    far = f"looked at {reached:,} of {labels:,} labels" if reached else "came to no answer"
    more = "" if estimate is None else f"; all of it would take about {spoken(estimate)}"
    return f"{detection.detector} {far} in its share of the time{more}."


def not_looking(name: str, why: str) -> CheckRecord:
    """That somebody did not look for whom nobody had asked."""
    return CheckRecord(name=name, status=CheckStatus.SKIPPED, message=f"{name} did not look: {why}.")


def too_little_time(estimate: float | None) -> str:
    """Why somebody did not look."""
    more = "" if estimate is None else f", and it would take about {spoken(estimate)}"
    return f"too little time was left{more}"


def partial(labels: Sequence[int] | None, model: Classifier) -> tuple[str, ...]:
    """Why a scan of some labels only bars the all-clear."""
    if labels is None or len(set(labels)) == model.num_classes:
        return ()
    return (f"Only {len(set(labels))} of {model.num_classes} labels were scanned.",)


def _labels(count: int) -> str:
    return f"{count} label{'s' if count > 1 else ''}"


def blind_spots(detections: Sequence[Detection], labels: Sequence[int] | None) -> tuple[str, ...]:
    """What this audit could not have seen: what none of its detectors sees."""
    every = dict.fromkeys(spot for d in detections for spot in d.blind_spots)
    unseen = (s for s in every if s not in SHARED or all(s in d.blind_spots for d in detections))
    said = dict.fromkeys(unseen)
    if labels is not None:
        said["Labels that were not scanned: only " + ", ".join(map(str, labels)) + " were."] = None
    return tuple(said)


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent, with a space before the sign; what is above 0 is never shown as 0."""
    least = 10.0**-digits
    return f"<{least:g} %" if 0 < 100 * share < least / 2 else f"{100 * share:.{digits}f} %"


def begin(sentence: str) -> str:
    """A sentence with its first letter large."""
    return sentence[:1].upper() + sentence[1:]


def label_name(label: int, class_name: str) -> str:
    """A label by its number, and by its name where it has one."""
    return f"label {label}" if class_name == str(label) else f"label {label} ({class_name})"
