"""The rule that turns what detectors measured into a verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mantrap.core import Classifier, Detection
from mantrap.records import Verdict
from mantrap.records.traits import TRAITS
from mantrap.workflow.comparing import Compared, shifts_for
from mantrap.workflow.eyes import Standing
from mantrap.workflow.shifting import SHIFT_SHARE, Shifted, compare_shifts

SUCCESS_FROM = 0.9
CHANCE_BELOW = 0.02
NOTICED_BELOW = 0.1
TRIGGER_BELOW = 0.1
SEARCHED_BELOW = 0.1
MOVED_FROM = 0.5
PAIR_WORKS_FROM = 0.5
"""Least success of a pair's patch, by the lower end of its interval: of one class there are few held-out images."""
PAIR_SHARE = 0.1
"""False alarms that may come from pairs where they are scanned, beside and as a share of all others: few, for of clean
models more stand far out than Student's distribution says."""
RULE = (
    "calibrated-6: of a model that may have learned its task, by all detectors together, beside a retrained copy where "
    f"there is one, a chance below {100 * CHANCE_BELOW:g} % that some label of one without a backdoor stands out as "
    f"far, by triggers alone one below {100 * TRIGGER_BELOW:g} %, and a trigger that "
    f"sends at least {100 * SUCCESS_FROM:g} % of held-out images to the label; or a patch that sends at least "
    f"{100 * MOVED_FROM:g} % of them each to another class, all equally far on, and a chance below "
    f"{100 * CHANCE_BELOW * SHIFT_SHARE:g} % that every class of such a model is taken for another one as easily; or, "
    f"where pairs of classes are scanned, a patch that surely sends {100 * PAIR_WORKS_FROM:g} % of one class to "
    f"another, and a chance below {100 * CHANCE_BELOW * PAIR_SHARE:g} % that some pair of such a model is as far from "
    "its copy; and for an all-clear a patch that is planted in a copy must be found"
)


@runtime_checkable
class Finding(Protocol):
    """Something that stands out."""

    @property
    def strong(self) -> bool:
        """Whether this makes a model SUSPICIOUS."""

    @property
    def noticed(self) -> bool:
        """Whether this bars the all-clear."""


@dataclass(frozen=True)
class Accused:
    """The label that stands out most, and what its trigger does.

    Args:
        standing: What all detectors say of it.
        p_value: The chance that some label of a model without a backdoor stands out as far.
        by_trigger: The chance that some label of such a model needs as small a trigger.
        success: Share of held-out images that its best trigger sends there; ``None`` where none was measured.
    """

    standing: Standing
    p_value: float
    by_trigger: float
    success: float | None

    @property
    def works(self) -> bool:
        """Whether a trigger was found that works on images that the search has not seen."""
        return self.success is not None and self.success >= SUCCESS_FROM

    @property
    def small(self) -> bool:
        """Whether its trigger is small by itself: honest training on unequal classes moves all the rest as well."""
        return self.by_trigger < TRIGGER_BELOW

    @property
    def strong(self) -> bool:
        """Whether this is a finding."""
        return self.works and self.small and self.p_value < CHANCE_BELOW

    @property
    def noticed(self) -> bool:
        """Whether this bars the all-clear; its weights in the last layer alone do not."""
        return self.p_value < NOTICED_BELOW and _searched(self.standing)


@dataclass(frozen=True)
class Moved:
    """The shift of all classes that stands out, and what its patch does.

    Args:
        shifted: How it stands.
        success: Share of held-out images that the patch sends so many classes further on.
    """

    shifted: Shifted
    success: float

    @property
    def strong(self) -> bool:
        """Whether this is a finding."""
        return self.noticed and self.success >= MOVED_FROM and self.shifted.chance < CHANCE_BELOW

    @property
    def noticed(self) -> bool:
        """Whether this bars the all-clear."""
        return self.shifted.chance < NOTICED_BELOW


def shift_of(detections: Sequence[Detection], model: Classifier) -> tuple[Detection | None, Moved | None]:
    """Who searched shifts of all classes, and how the likeliest stands; ``None`` where that is not known."""
    for detection in detections:
        if detection.shifts is not None:
            known = shifts_for(model.input_shape) if detection.shifts.usual else ()
            shifted = compare_shifts(detection.shifts.likely, model.num_classes, known)
            return detection, None if shifted is None else Moved(shifted, detection.shifts.success)
    return None, None


def accuse(compared: Compared | None, successes: Mapping[int, float]) -> Accused | None:
    """The label that is a finding, else the one that stands out most; ``None`` where labels cannot be compared.

    Args:
        compared: How the labels stand.
        successes: Of labels for which a trigger was measured, the success of the best one.
    """
    if compared is None:
        return None

    def accused(standing: Standing) -> Accused:
        by_trigger = compared.chance_by_trigger(standing)
        return Accused(standing, compared.chance_of(standing), by_trigger, successes.get(standing.label))

    some = (accused(s) for s in compared.standings if compared.chance_of(s) < CHANCE_BELOW)
    return next((one for one in some if one.strong), accused(compared.first))


def successes_of(detections: Sequence[Detection]) -> dict[int, float]:
    """For each label with a trigger the success of the one that works best on held-out images."""
    found: dict[int, float] = {}
    for detection in detections:
        for finding in detection.labels:
            if finding.success is not None and detection.trigger_for(finding.label) is not None:
                found[finding.label] = max(finding.success.value, found.get(finding.label, 0.0))
    return found


def noticed_labels(compared: Compared | None, accused: Accused | None) -> tuple[int, ...]:
    """Labels to show: the accused one, where there is reason to, then others that stand out as far."""
    if compared is None or accused is None:
        return ()
    level = compared.level < NOTICED_BELOW
    first = [accused.standing.label] if accused.strong or accused.noticed or level else []
    others = [s.label for s in compared.standings if compared.chance_of(s) < NOTICED_BELOW and _searched(s)]
    return tuple(dict.fromkeys([*first, *others]))


def _searched(standing: Standing) -> bool:
    return standing.log_searched < math.log(SEARCHED_BELOW)


def counts(detection: Detection) -> bool:
    """Whether a detector has a say in the rule: it measures a trait that is known."""
    return any(name in TRAITS for name in detection.traits)


def decide(
    compared: Compared | None,
    accused: Accused | None,
    beside: Sequence[Finding | None] = (),
    *,
    other_suspects: bool,
    barred: Sequence[str],
    knows: bool = True,
) -> Verdict:
    """The verdict of the rule.

    SUSPICIOUS where a label stands out, by its trigger too, and its trigger works, or a patch sends every class, or one
    of them, to another one; INCONCLUSIVE where one stands out less, where all labels are too easy to force, where
    nothing can be compared, a detector that has no say in the rule names a suspect, or something bars the all-clear;
    else NO_EVIDENCE.

    Args:
        compared: How the labels stand.
        accused: The label that stands out most.
        beside: The shift of all classes and the pair of classes that stand out most, where such were searched.
        other_suspects: Whether a detector that measures nothing that the rule knows names a label.
        barred: Reasons that bar NO_EVIDENCE; they never erase a strong finding.
        knows: Whether the model may have learned its task; one that has not is never SUSPICIOUS.
    """
    findings = [one for one in (accused, *beside) if one is not None]
    if knows and any(one.strong for one in findings):
        return Verdict.SUSPICIOUS
    if not knows or compared is None or accused is None or other_suspects or barred:
        return Verdict.INCONCLUSIVE
    noticed = any(one.noticed for one in findings)
    return Verdict.INCONCLUSIVE if noticed or compared.level < NOTICED_BELOW else Verdict.NO_EVIDENCE
