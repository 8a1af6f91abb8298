"""Detectors at work: on the model in question, on a copy and on references, within the time that there is."""

import contextlib
import dataclasses
from collections.abc import Sequence

from mantrap.core import (
    FORGETFUL,
    Classifier,
    Cost,
    Detection,
    Detector,
    Elsewhere,
    ImageSet,
    Memo,
    OutOfTime,
    Progress,
    Rng,
)
from mantrap.records import CheckRecord, CheckStatus, Verdict
from mantrap.workflow import control, words
from mantrap.workflow.budget import Budget, Deadline
from mantrap.workflow.control import Control
from mantrap.workflow.ledger import Ledger, SharedTimedMemo, TimedMemo
from mantrap.workflow.pairing import comparable, without_pairs
from mantrap.workflow.plan import Plan, spelled
from mantrap.workflow.planting import plant
from mantrap.workflow.references import Looked, check_of, measure
from mantrap.workflow.retraining import Copied, measured_again, no_copy, not_worth_a_look, retrain, unwanted
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.seen import Seen, nothing
from mantrap.workflow.stopwatch import Stopwatch

_SHARE = 0.25
"""Of the time that is left, for those who look if they need no more: what they found is measured in a copy as well."""


class Looking:
    """The detectors of an audit, one after the other, then the same on a copy of the model and on every reference.

    Args:
        model: The classifier in question.
        plan: Who looks, at what, and how long.
        folder: Where finished work is kept; ``None`` keeps nothing.
        watch: Told of every stage.
        ledger: Told what it cost.
        progress: Observer.
        helping: Whether this process only makes pieces of searches, of which another one makes something.
    """

    def __init__(
        self,
        model: Classifier,
        plan: Plan,
        folder: RunFolder | None,
        watch: Stopwatch,
        ledger: Ledger,
        progress: Progress,
        *,
        helping: bool = False,
    ) -> None:
        self.model, self.plan, self.folder, self.helping = model, plan, folder, helping
        self.watch, self.ledger, self.progress = watch, ledger, progress
        self.budget = Budget(plan.budget, len(plan.detectors) + bool(plan.references))
        self._asked = len(set(plan.labels or range(model.num_classes)))
        self._present = list(plan.detectors)
        self._rng = Rng(plan.seed)
        self.rng = self._rng.child("detect")
        self.missing = [*words.partial(plan.labels, model)]
        """What was left out, in sentences: what nobody asked for, and what time did not suffice for."""

    def everywhere(self, scan: ImageSet, heldout: ImageSet) -> Seen:
        """What detectors say of the model, of a copy of it, and of references.

        Args:
            scan: Images to search with.
            heldout: Other images, to measure on.
        """
        detections = self._at_the_model(scan, heldout)
        further, left_out = self._in_time_left(scan, heldout)
        detections += further
        looked = self._at_references(detections, scan, heldout) if self.plan.references else ()
        copied = self._at_a_copy(detections, scan, heldout)
        detections = tuple(one if comparable(one, copied.pairs) else without_pairs(one) for one in detections)
        of_references = [check_of(looked)] if looked else []
        self.missing += [check.message for check in of_references if check.status is CheckStatus.WARNED]
        return Seen(detections, looked, copied, (*left_out, copied.check, *of_references))

    def _at_the_model(self, scan: ImageSet, heldout: ImageSet) -> tuple[Detection, ...]:
        """What each detector says, in the order of the plan.

        Where time is short the last one looks first: what takes longest stands first in a plan, and gets what the
        others leave.
        """
        order = self.plan.detectors if self.plan.budget is None else self.plan.detectors[::-1]
        found = {spelled(detector): self._detect(detector, scan, heldout) for detector in order}
        return tuple(found[spelled(detector)] for detector in self.plan.detectors)

    def _in_time_left(self, scan: ImageSet, heldout: ImageSet) -> tuple[tuple[Detection, ...], tuple[CheckRecord, ...]]:
        """What those say for whom time is left, and who was left out: that nobody asked for, so it bars nothing."""
        found: list[Detection] = []
        left_out: list[CheckRecord] = []
        for detector in self.plan.if_time:
            if why := not_worth_a_look(detector, self.model, scan, copy=self.plan.copy):
                left_out.append(words.not_looking(detector.name, why))
                continue
            observer = self.budget.part(self.progress, _SHARE)
            one = self._looked(detector, scan, heldout, observer)
            if one.missed:
                left_out.append(words.not_looking(detector.name, words.too_little_time(observer.estimate)))
            else:
                found.append(one)
                self._present.append(detector)
        return tuple(found), tuple(left_out)

    def _at_a_copy(self, detections: Sequence[Detection], scan: ImageSet, heldout: ImageSet) -> Copied:
        """What a copy of the model looks like that was retrained on clean images; without one, why there is none.

        Of a budget it gets what all others have left.
        """
        if self.plan.left_out is not None:
            return no_copy("there are no images")
        observer = self.budget.next(self.progress)
        unwanted_one = unwanted(self.model, scan, detections, asked=self.plan.copy)
        if unwanted_one is not None:
            return unwanted_one
        copied = no_copy("time did not suffice for it")
        with self.watch.stage("copy"), contextlib.suppress(OutOfTime):
            made = retrain(self.model, scan, heldout, rng=self._rng.child("copy"), progress=observer)
            if made.model is None:
                copied = made
            else:
                found = measure(
                    made.model,
                    self._who(made.model, measured_again(self.model, detections, asked=self.plan.copy)),
                    scan,
                    heldout,
                    labels=self.plan.labels,
                    rng=self.rng,
                    progress=observer,
                )
                copied = dataclasses.replace(
                    made, measured=found.measured, pairs=found.pairs, cost=made.cost + found.cost
                )
        self.ledger.add("copy", copied.cost)
        return copied

    def at_a_control(
        self, detections: Sequence[Detection], scan: ImageSet, heldout: ImageSet, *, verdict: Verdict
    ) -> Control:
        """Whether what looks for patches finds one that is planted in a copy of the model.

        Args:
            detections: What each detector says of the model.
            scan: Images to plant it with, and to search with.
            heldout: Other images, to measure on.
            verdict: What all else ended in.
        """
        cleared = verdict is Verdict.NO_EVIDENCE
        why = control.unwanted(self.model, detections, asked=self.plan.control, cleared=cleared)
        if why is not None:
            return why
        observer, rng = self.budget.next(self.progress), self._rng.child("control")
        made = control.no_control("time did not suffice for it", CheckStatus.WARNED)
        with self.watch.stage("control"), contextlib.suppress(OutOfTime):
            planted = plant(self.model, scan, heldout, rng=rng, progress=observer)
            if isinstance(planted, str):
                made = control.no_control(planted, CheckStatus.WARNED)
            elif not planted.took:
                made = control.missed(planted)
            else:
                found = measure(
                    planted.model,
                    self._who(planted.model, [control.looks_for_patches(d) for d in detections]),
                    scan,
                    heldout,
                    labels=control.labels_to_search(planted, rng.child("others")),
                    rng=self.rng,
                    progress=observer,
                )
                made = control.judge(planted, found.measured, found.cost)
        self.ledger.add("control", made.cost)
        return made

    def _who(self, model: Classifier, again: Sequence[bool]) -> list[tuple[Detector, Memo] | None]:
        """Which detectors look at another model too, and where their finished work is kept."""
        weights = model.digest()
        return [
            (detector, self._memo(f"{spelled(detector)} {weights}")) if some else None
            for detector, some in zip(self._present, again, strict=True)
        ]

    def _at_references(self, detections: Sequence[Detection], scan: ImageSet, heldout: ImageSet) -> tuple[Looked, ...]:
        """What the references look like, as many as there is time for."""
        references, observer = self.plan.references, self.budget.next(self.progress)
        looked: list[Looked] = []
        with self.watch.stage("references"), contextlib.suppress(OutOfTime):
            for reference in references:
                who = self._who(reference.model, [bool(d.traits) for d in detections])
                found = measure(
                    reference.model, who, scan, heldout, labels=self.plan.labels, rng=self.rng, progress=observer
                )
                looked.append(Looked(reference, found.measured, found.cost))
        self.ledger.add("references", sum((one.cost for one in looked), Cost()))
        if len(looked) < len(references):
            self.missing.append(f"Time sufficed for {len(looked)} of {len(references)} references.")
        return tuple(looked)

    def _detect(self, detector: Detector, scan: ImageSet, heldout: ImageSet) -> Detection:
        observer = self.budget.next(self.progress)
        detection = self._looked(detector, scan, heldout, observer)
        if detection.missed:
            self.missing.append(words.out_of_time(detection, self._asked, observer.estimate))
        return detection

    def _looked(self, detector: Detector, scan: ImageSet, heldout: ImageSet, observer: Deadline) -> Detection:
        with self.watch.stage(detector.name):
            try:
                detection = detector.detect(
                    self.model,
                    scan,
                    heldout=heldout,
                    labels=self.plan.labels,
                    rng=self.rng,
                    progress=observer,
                    memo=self._memo(spelled(detector)),
                )
            except OutOfTime:
                detection = nothing(detector, self.model)
        self.ledger.add(detector.name, detection.cost)
        return detection

    def help(self, scan: ImageSet, heldout: ImageSet) -> None:
        """Make those pieces of the searches that nobody is at; of what they come to, another process makes something.

        Args:
            scan: Images to search with.
            heldout: Other images, to measure on.
        """
        for detector in self.plan.detectors:
            with contextlib.suppress(Elsewhere):
                self._detect(detector, scan, heldout)

    def _memo(self, name: str) -> Memo:
        """Where finished work of this name is kept."""
        if self.folder is None:
            return FORGETFUL
        if self.plan.workers > 1 or self.helping:
            return SharedTimedMemo(self.folder.shared_memo(name, helping=self.helping), self.watch)
        return TimedMemo(self.folder.memo(name), self.watch)
