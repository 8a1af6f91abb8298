"""May I deploy this model? Scan it, judge what was found, and write down how."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from mantrap.core import (
    SILENT,
    Classifier,
    Cost,
    ImageSet,
    Progress,
    ReversedTrigger,
    Rng,
)
from mantrap.data import check_labels
from mantrap.errors import UsageError
from mantrap.models import check_outputs
from mantrap.records import (
    AuditRecord,
    Reproduction,
    SuspectRecord,
    Volatile,
)
from mantrap.workflow import assembly, words
from mantrap.workflow.checks import check_images
from mantrap.workflow.comparing import Compared, beside_copy, compare, null_for
from mantrap.workflow.evidence import marked, pair_record, shift_record, suspect_records
from mantrap.workflow.headline import headline
from mantrap.workflow.heights import halved_of
from mantrap.workflow.helping import Helpers, helped
from mantrap.workflow.imageless import check_none, no_data, stand_ins, without_images
from mantrap.workflow.kept_triggers import TRIGGERS_FILE, save_triggers
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.looking import Looking
from mantrap.workflow.naming import by_name
from mantrap.workflow.norms import Judged, judge_labels
from mantrap.workflow.pairing import pair_of, patches_of
from mantrap.workflow.parting import parted
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.references import check_references
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.seen import Seen
from mantrap.workflow.sight import with_sights
from mantrap.workflow.stopwatch import Stopwatch
from mantrap.workflow.verdict import (
    RULE,
    accuse,
    counts,
    decide,
    noticed_labels,
    shift_of,
    successes_of,
)
from mantrap.workflow.versions import versions

RECORD_FILE = "audit.json"
REPORT_FILE = "report.html"
Shown = TypeVar("Shown")
OUTPUT_SAMPLE = 64
"""Images on which the outputs are checked before the scan."""


def audit(
    model: Classifier,
    images: ImageSet | None,
    *,
    plan: Plan,
    source: Source,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress = SILENT,
) -> AuditRecord:
    """Look for a backdoor in a model.

    The images are parted by content into those that detectors search with and those that what they find is measured
    on. With ``out``, finished work is kept there, so that the same call goes on after a kill, and the record is written
    as ``audit.json``.

    Args:
        model: The classifier in question; bitwise unchanged afterwards.
        images: Clean images, with or without labels; ``None`` for what can be said without any, which clears nothing.
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
        UsageError: Nothing to look with, labels that the model does not have, too few images to part, or references
            of another task.
        OutputError: The folder cannot be written, is in use, or belongs to another run.
    """
    if not plan.detectors:
        raise UsageError(expected="at least one detector", got="none", remedy="Name a detector.")
    if images is None:
        plan, images = without_images(plan), stand_ins(model)
    model, images = by_name(model, images)
    plan = plan.for_labels(model.num_classes)
    check_references(plan.references, model)
    if images.labelled:
        check_labels(images, model.num_classes)
    with ExitStack() as stack:
        folder: RunFolder | None = None
        if out is not None:
            folder = RunFolder(Path(out), plan.identity(source, model, images))
            stack.enter_context(folder.claimed(fresh=fresh, outputs=(RECORD_FILE, REPORT_FILE, TRIGGERS_FILE)))
        shared, helpers = folder, None
        if plan.workers > 1:
            shared = folder or RunFolder(Path(stack.enter_context(tempfile.TemporaryDirectory())), {})
            helpers = stack.enter_context(helped(model, images, plan, source, shared.path))
        auditing = _Audit(model, images, plan, source, shared, progress, helpers)
        record = auditing.run()
        if folder is not None:
            if auditing.recovered:
                save_triggers(folder.path / TRIGGERS_FILE, auditing.recovered, source.sha256)
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
        helpers: Helpers | None,
    ) -> None:
        self.model, self.images, self.plan, self.source = model, images, plan, source
        self.folder, self.progress, self.helpers = folder, progress, helpers
        self.watch = Stopwatch(None if folder is None else folder.work("seconds.json"))
        self.ledger = Ledger()
        self.recovered: tuple[ReversedTrigger, ...] = ()
        """Triggers of what was noticed, once it has run: of labels, and of a pair of classes."""

    def run(self) -> AuditRecord:
        rng, left_out = Rng(self.plan.seed), self.plan.left_out
        with self.watch.stage("checks"):
            scan, heldout = parted(self.images, rng)
            sample = heldout.images(range(min(OUTPUT_SAMPLE, len(heldout)))).to(self.model.device)
            check_outputs(self.model, sample)
            checked = check_images(self.model, self.images) if left_out is None else check_none(left_out)
            self.ledger.add("checks", checked.cost + Cost(forward=len(sample)))
        looking = Looking(self.model, self.plan, self.folder, self.watch, self.ledger, self.progress)
        seen = looking.everywhere(scan, heldout)
        detections = seen.detections
        judged = [judge_labels(detection) for detection in detections]
        barred = (*checked.barring, *looking.missing, *words.unfinished(detections))
        compared = self._compared(seen)
        accused = accuse(compared, successes_of(detections))
        shifted, moved = shift_of(detections, self.model)
        others = any(d.suspects and not counts(d) for d in detections)
        copied = seen.copied
        paired = None if copied.pairs is None else self._shown(pair_of, detections, copied.pairs, scan, heldout)
        judge = partial(decide, compared, accused, (moved, paired), other_suspects=others, knows=checked.knows)
        control = looking.at_a_control(detections, scan, heldout, verdict=judge(barred=barred))
        barred = (*barred, *control.barring)
        verdict = judge(barred=barred)
        named = marked(detections, judged, noticed_labels(compared, accused))
        self.recovered = (*(trigger for _, _, trigger in named), *patches_of(paired))
        suspects = self._suspects(heldout, named, rng, copied.model)
        return AuditRecord(
            verdict=verdict,
            verdict_rule=RULE,
            provisional=False,
            headline=headline(verdict, suspects, compared, accused, moved, paired, self.model),
            reasons=words.reasons(detections, compared, accused, moved, paired, self.model, barred),
            barring=barred,
            blind_spots=words.blind_spots(detections, self.plan.labels),
            comparison=assembly.comparison_record(self.model, compared, moved, paired),
            copy=assembly.copy_record(self.model, copied),
            control=control.record,
            coverage=assembly.coverage_record(self.plan, RULE, copied, detections),
            suspects=suspects,
            shift=None if shifted is None else self._shown(shift_record, heldout, shifted, moved),
            pair=None if paired is None else self._shown(pair_record, heldout, paired),
            labels=assembly.most_labels(self.model, detections, judged),
            detections=tuple(
                assembly.detection_record(self.model, d, group, compared)
                for d, group in zip(detections, judged, strict=True)
            ),
            checks=(*checked.checks, *seen.checks, control.check),
            model=assembly.model_record(self.model, file_name=self.source.file_name, sha256=self.source.sha256),
            references=assembly.reference_records(seen.looked),
            data=assembly.data_record(self.images, scan, heldout) if left_out is None else no_data(),
            reproduction=Reproduction(
                command=self.plan.command,
                seed=self.plan.seed,
                detectors=tuple(d.detector for d in detections),
                versions=versions(),
            ),
            cost=self.ledger.records(),
            volatile=self._volatile(),
        )

    def _compared(self, seen: Seen) -> Compared | None:
        """How the labels stand, beside the copy and the references that there are."""
        arch, shape, copied = self.model.arch, self.model.input_shape, seen.copied
        traits, beside = [d.traits for d in seen.detections], beside_copy(arch, shape, copied.measured, copied.unsure)
        others, halved = [one.measured for one in seen.looked], halved_of(seen.detections)
        return compare(traits, null_for(arch, shape), others, beside, halved=halved)

    def _volatile(self) -> Volatile:
        workers = 1 if self.helpers is None else 1 + self.helpers.working
        return self.watch.volatile(self.source.path, self.model.device, workers=workers)

    def _suspects(
        self,
        heldout: ImageSet,
        named: Sequence[tuple[str, Judged, ReversedTrigger]],
        rng: Rng,
        copy: Classifier | None,
    ) -> tuple[SuspectRecord, ...]:
        """The labels that stand out with their triggers, and what the model looks at."""
        suspects = self._shown(suspect_records, heldout, named, rng.child("evidence"), copy)
        if not suspects:
            return ()
        return self._shown(with_sights, heldout, suspects, named, rng.child("sight"), stage="sight")

    def _shown(self, make: Callable[..., tuple[Shown, Cost]], *given: object, stage: str = "evidence") -> Shown:
        """Something that a reader sees, which takes a while to make."""
        with self.watch.stage(stage):
            shown, cost = make(self.model, *given)
        self.ledger.add(stage, cost)
        return shown
