"""Detectors at work: on the model in question and on references, within the time that there is."""

import contextlib
from collections.abc import Sequence

from mantrap.core import FORGETFUL, Classifier, Cost, Detection, Detector, ImageSet, Memo, OutOfTime, Progress, Rng
from mantrap.records import CheckRecord, CheckStatus
from mantrap.workflow import words
from mantrap.workflow.budget import Budget
from mantrap.workflow.ledger import Ledger, TimedMemo
from mantrap.workflow.plan import Plan, spelled
from mantrap.workflow.references import Looked, check_of, measure
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.stopwatch import Stopwatch


class Looking:
    """The detectors of an audit, one after the other, then the same on every reference.

    Args:
        model: The classifier in question.
        plan: Who looks, at what, and how long.
        folder: Where finished work is kept; ``None`` keeps nothing.
        watch: Told of every stage.
        ledger: Told what it cost.
        progress: Observer.
    """

    def __init__(
        self,
        model: Classifier,
        plan: Plan,
        folder: RunFolder | None,
        watch: Stopwatch,
        ledger: Ledger,
        progress: Progress,
    ) -> None:
        self.model, self.plan, self.folder = model, plan, folder
        self.watch, self.ledger, self.progress = watch, ledger, progress
        self.budget = Budget(plan.budget, len(plan.detectors) + bool(plan.references))
        self._asked = len(set(plan.labels or range(model.num_classes)))
        self.rng = Rng(plan.seed).child("detect")
        self.missing = [*words.partial(plan.labels, model)]
        """What was left out, in sentences: what nobody asked for, and what time did not suffice for."""

    def everywhere(
        self, scan: ImageSet, heldout: ImageSet
    ) -> tuple[tuple[Detection, ...], tuple[Looked, ...], tuple[CheckRecord, ...]]:
        """What detectors say of the model, what the references look like, and whether these look clean.

        Args:
            scan: Images to search with.
            heldout: Other images, to measure on.
        """
        detections = self._at_the_model(scan, heldout)
        looked = self._at_references(detections, scan, heldout) if self.plan.references else ()
        check = check_of(looked) if looked else None
        if check is not None and check.status is CheckStatus.WARNED:
            self.missing.append(check.message)
        return detections, looked, (() if check is None else (check,))

    def _at_the_model(self, scan: ImageSet, heldout: ImageSet) -> tuple[Detection, ...]:
        """What each detector says, in the order of the plan.

        Where time is short the last one looks first: what takes longest stands first in a plan, and gets what the
        others leave.
        """
        order = self.plan.detectors if self.plan.budget is None else self.plan.detectors[::-1]
        found = {spelled(detector): self._detect(detector, scan, heldout) for detector in order}
        return tuple(found[spelled(detector)] for detector in self.plan.detectors)

    def _at_references(self, detections: Sequence[Detection], scan: ImageSet, heldout: ImageSet) -> tuple[Looked, ...]:
        """What the references look like, as many as there is time for."""
        references, observer = self.plan.references, self.budget.next(self.progress)
        looked: list[Looked] = []
        with self.watch.stage("references"), contextlib.suppress(OutOfTime):
            for reference in references:
                weights, asked = reference.model.digest(), self.plan.labels
                who = [
                    (detector, self._memo(f"{spelled(detector)} {weights}")) if before.traits else None
                    for detector, before in zip(self.plan.detectors, detections, strict=True)
                ]
                looked.append(measure(reference, who, scan, heldout, labels=asked, rng=self.rng, progress=observer))
        self.ledger.add("references", sum((one.cost for one in looked), Cost()))
        if len(looked) < len(references):
            self.missing.append(f"Time sufficed for {len(looked)} of {len(references)} references.")
        return tuple(looked)

    def _detect(self, detector: Detector, scan: ImageSet, heldout: ImageSet) -> Detection:
        observer = self.budget.next(self.progress)
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
        if detection.missed:
            self.missing.append(words.out_of_time(detection, self._asked, observer.estimate))
        return detection

    def _memo(self, name: str) -> Memo:
        """Where finished work of this name is kept."""
        return FORGETFUL if self.folder is None else TimedMemo(self.folder.memo(name), self.watch)


def nothing(detector: Detector, model: Classifier) -> Detection:
    """What a detector says whose time was over before it had anything to say."""
    return Detection(
        detector=spelled(detector),
        num_classes=model.num_classes,
        blind_spots=("Everything that this detector looks for: its time was over too soon.",),
        missed=model.num_classes,
    )
