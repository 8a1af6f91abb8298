"""May I deploy this model? Scan it, judge what was found, and write down how."""

import datetime as dt
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from mantrap.core import (
    FORGETFUL,
    SILENT,
    Classifier,
    Cost,
    Detection,
    Detector,
    ImageSet,
    Memo,
    Progress,
    Rng,
)
from mantrap.data import check_labels, split
from mantrap.errors import UsageError
from mantrap.models import check_outputs
from mantrap.records import (
    AuditRecord,
    Reproduction,
    ShiftRecord,
    SuspectRecord,
    Volatile,
)
from mantrap.workflow import assembly, words
from mantrap.workflow.checks import check_images
from mantrap.workflow.comparing import compare, null_for, shifts_for
from mantrap.workflow.evidence import marked, shift_record, suspect_records
from mantrap.workflow.ledger import Ledger, TimedMemo
from mantrap.workflow.naming import by_name
from mantrap.workflow.plan import Plan, Source, spelled
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.shifting import compare_shifts
from mantrap.workflow.stopwatch import Stopwatch
from mantrap.workflow.verdict import (
    RULE,
    Judged,
    Moved,
    accuse,
    counts,
    decide,
    judge_labels,
    noticed_labels,
    successes_of,
)
from mantrap.workflow.versions import versions

RECORD_FILE = "audit.json"
REPORT_FILE = "report.html"
HELDOUT_SHARE = 0.25
"""Share of the images that what was found is measured on."""

OUTPUT_SAMPLE = 64
"""Images on which the outputs are checked before the scan."""

MOST_SUSPECTS = 10
"""Suspects that are shown with pictures; the labels of the record hold them all."""


def audit(
    model: Classifier,
    images: ImageSet,
    *,
    plan: Plan,
    source: Source,
    out: Path | None = None,
    fresh: bool = False,
    progress: Progress = SILENT,
) -> AuditRecord:
    """Look for a backdoor in a model.

    The images are parted by content into those that detectors search with and those that what they find is measured
    on. With ``out``, finished work is kept there, so that the same call goes on after a kill, and the record is written
    as ``audit.json``.

    Args:
        model: The classifier in question; bitwise unchanged afterwards.
        images: Clean images, with or without labels.
        plan: What to do.
        source: Where the model came from.
        out: Folder of the run; ``None`` writes nothing.
        fresh: Start over in a folder that holds an unfinished run or another one.
        progress: Observer of the work.

    Returns:
        The record.

    Raises:
        DataError: Labels outside the model's classes.
        ModelError: Outputs that are probabilities, not finite, or the same for every image.
        UsageError: Nothing to look with, labels that the model does not have, or too few images to part.
        OutputError: The folder cannot be written, is in use, or belongs to another run.
    """
    if not plan.detectors:
        raise UsageError(expected="at least one detector", got="none", remedy="Name a detector.")
    model, images = by_name(model, images)
    if images.labelled:
        check_labels(images, model.num_classes)
    with ExitStack() as stack:
        folder: RunFolder | None = None
        if out is not None:
            folder = RunFolder(out, plan.identity(source, model, images))
            stack.enter_context(folder.claimed(fresh=fresh, outputs=(RECORD_FILE, REPORT_FILE)))
        record = _Audit(model, images, plan, source, folder, progress).run()
        if folder is not None:
            folder.write(RECORD_FILE, record.to_json())
    return record


class _Audit:
    """One audit, stage by stage."""

    def __init__(
        self,
        model: Classifier,
        images: ImageSet,
        plan: Plan,
        source: Source,
        folder: RunFolder | None,
        progress: Progress,
    ) -> None:
        self.model, self.images, self.plan, self.source = model, images, plan, source
        self.folder, self.progress = folder, progress
        self.started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self.watch = Stopwatch(None if folder is None else folder.work("seconds.json"))
        self.ledger = Ledger()

    def run(self) -> AuditRecord:
        rng = Rng(self.plan.seed)
        with self.watch.stage("checks"):
            parts = split(self.images, {"scan": 1 - HELDOUT_SHARE, "heldout": HELDOUT_SHARE}, rng=rng.child("split"))
            scan, heldout = parts["scan"], parts["heldout"]
            sample = heldout.images(range(min(OUTPUT_SAMPLE, len(heldout)))).to(self.model.device)
            check_outputs(self.model, sample)
            checked = check_images(self.model, self.images)
            self.ledger.add("checks", checked.cost + Cost(forward=len(sample)))
        detections = [self._detect(detector, scan, heldout, rng) for detector in self.plan.detectors]
        judged = [judge_labels(detection) for detection in detections]
        barred = (*checked.barring, *self._partial(), *words.unfinished(detections))
        compared = compare([d.traits for d in detections], null_for(self.model.arch, self.model.input_shape))
        accused = accuse(compared, successes_of(detections))
        shift, moved = self._shift(detections, heldout)
        others = any(d.suspects and not counts(d) for d in detections)
        verdict = decide(compared, accused, moved, other_suspects=others, barred=barred)
        shown = noticed_labels(compared, accused)
        suspects = self._suspects(detections, judged, shown, heldout, rng.child("evidence"))
        # The labels of the detector that has most to say of them; every detection holds its own.
        first = max(range(len(judged)), key=lambda i: (len(judged[i]), -i))
        return AuditRecord(
            verdict=verdict,
            verdict_rule=RULE,
            provisional=False,
            headline=words.headline(verdict, suspects, compared, accused, moved, self.model),
            reasons=words.reasons(detections, compared, accused, moved, self.model, barred),
            barring=barred,
            blind_spots=words.blind_spots(detections, self.plan.labels),
            comparison=assembly.comparison_record(self.model, compared),
            coverage=assembly.coverage_record([d.detector for d in detections], self.plan.labels, RULE),
            suspects=suspects,
            shift=shift,
            labels=assembly.label_records(self.model, detections[first], judged[first]),
            detections=tuple(
                assembly.detection_record(self.model, d, group, compared)
                for d, group in zip(detections, judged, strict=True)
            ),
            checks=checked.checks,
            model=assembly.model_record(self.model, file_name=self.source.file_name, sha256=self.source.sha256),
            data=assembly.data_record(self.images, scan, heldout),
            reproduction=Reproduction(
                command=self.plan.command,
                seed=self.plan.seed,
                detectors=tuple(d.detector for d in detections),
                versions=versions(),
            ),
            cost=self.ledger.records(),
            volatile=Volatile(
                started=self.started,
                model_path=self.source.path,
                device=str(self.model.device),
                threads=torch.get_num_threads(),
                machine=f"{platform.system()} {platform.machine()}",
                stages=self.watch.times(),
            ),
        )

    def _detect(self, detector: Detector, scan: ImageSet, heldout: ImageSet, rng: Rng) -> Detection:
        memo: Memo = FORGETFUL
        if self.folder is not None:
            memo = TimedMemo(self.folder.memo(spelled(detector)), self.watch)
        with self.watch.stage(detector.name):
            detection = detector.detect(
                self.model,
                scan,
                heldout=heldout,
                labels=self.plan.labels,
                rng=rng.child("detect"),
                progress=self.progress,
                memo=memo,
            )
        self.ledger.add(detector.name, detection.cost)
        return detection

    def _suspects(
        self,
        detections: Sequence[Detection],
        judged: Sequence[Sequence[Judged]],
        noticed: Sequence[int],
        heldout: ImageSet,
        rng: Rng,
    ) -> tuple[SuspectRecord, ...]:
        """What is shown of the labels that stand out."""
        named = marked(detections, judged, noticed)
        with self.watch.stage("evidence"):
            records, cost = suspect_records(self.model, heldout, named[:MOST_SUSPECTS], rng)
        self.ledger.add("evidence", cost)
        return records

    def _shift(self, detections: Sequence[Detection], heldout: ImageSet) -> tuple[ShiftRecord | None, Moved | None]:
        """What is shown of the likeliest shift of all classes, and how it stands, where such were searched."""
        found = next(((d.detector, d.shifts) for d in detections if d.shifts is not None), None)
        if found is None:
            return None, None
        detector, shifts = found
        shifted = compare_shifts(shifts.likely, self.model.num_classes, shifts_for(self.model.input_shape))
        moved = None if shifted is None else Moved(shifted, shifts.success)
        with self.watch.stage("evidence"):
            record, cost = shift_record(self.model, heldout, detector, shifts, moved)
        self.ledger.add("evidence", cost)
        return record, moved

    def _partial(self) -> tuple[str, ...]:
        """Why a scan of some labels only bars the all-clear."""
        if self.plan.labels is None or len(set(self.plan.labels)) == self.model.num_classes:
            return ()
        return (f"Only {len(set(self.plan.labels))} of {self.model.num_classes} labels were scanned.",)
