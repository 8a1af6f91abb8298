"""What a defence comes to against an attack: done as its own verb does it, and measured by the truth."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mantrap.core import SILENT, Classifier, Cost, FittedGuard, ImageSet, ReversedTrigger, Rng
from mantrap.core.attack import DataAttack, Poisoned
from mantrap.core.truth import GroundTruth
from mantrap.errors import FailedError
from mantrap.guard import GUARDS, scores_over
from mantrap.measure import measure_attack, triggered
from mantrap.models import open_model
from mantrap.ops.intervals import wilson
from mantrap.ops.roc import area_under
from mantrap.ops.scores import accuracy_difference, predictions
from mantrap.poison import ATTACKS, RELABELLINGS
from mantrap.records import (
    Area,
    AuditRecord,
    GridDetected,
    GridGuarded,
    GridPiece,
    GridRepaired,
    GridScreened,
    Rate,
)
from mantrap.records.grid import CLEAN
from mantrap.repair import REPAIRS
from mantrap.screen import SCREENS
from mantrap.workflow.audit import RECORD_FILE, audit
from mantrap.workflow.grid_images import Images, drawn
from mantrap.workflow.grid_jobs import Job, Place
from mantrap.workflow.grid_plan import detectors_of
from mantrap.workflow.kept_triggers import TRIGGERS_FILE, load_triggers
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.parting import parted
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.subject import Audited, Subject
from mantrap.workflow.truths import load_truth


@dataclass(frozen=True, eq=False)
class Bench:
    """A model of a grid with its images, for one defence.

    Args:
        job: What is to be done.
        place: Where the pieces of the grid lie.
    """

    job: Job
    place: Place

    @cached_property
    def images(self) -> Images:
        """What it was trained on, what the defender has, and what is measured on."""
        return drawn(self.job.plan, self.job.data, self.job.seed)

    @cached_property
    def model(self) -> Classifier:
        """The model in question."""
        return self.opened(self.job.needs[0])

    @cached_property
    def truth(self) -> tuple[GroundTruth, dict[str, Tensor]] | None:
        """What was planted in it; ``None`` in a clean one."""
        return None if self.job.attack == CLEAN else load_truth(self.place.model(self.job.needs[0]))

    @property
    def rng(self) -> Rng:
        """Source of randomness of the defence."""
        return Rng(self.job.seed)

    def opened(self, job: Job) -> Classifier:
        """A model that was made."""
        return open_model(self.place.model(job), images_shape=self.images.training.shape)

    def piece(self, ledger: Ledger, **found: object) -> GridPiece:
        """What it came to, and what that cost."""
        return GridPiece(key=self.job.key, what=str(self.job), cost=ledger.records(), **found)  # type: ignore[arg-type]

    def learned(self, ledger: Ledger) -> tuple[ImageSet, tuple[ReversedTrigger, ...], tuple[str, ...]]:
        """Images to defend with, the triggers of the audit that work where one was asked for, and notes on others."""
        if len(self.job.needs) == 1:
            return parted(self.images.defender, self.rng)[0], (), ()
        path, folder = self.place.model(self.job.needs[0]), self.place.audit(self.job.needs[1])
        source = Source.of(path)
        audited = AuditRecord.from_json((folder / RECORD_FILE).read_text(encoding="utf-8"))
        known = load_triggers(folder / TRIGGERS_FILE, self.model, source.sha256)
        work = Audited(model=self.model, source=source, images=self.images.defender, audited=audited, triggers=known)
        subject = Subject(work, SILENT)
        for stage, cost in subject.ledger.stages.items():
            ledger.add(stage, cost)
        return subject.learned, subject.triggers, subject.notes


def detect(bench: Bench) -> GridPiece:
    """Audit the model as ``mantrap audit`` does; the audit's own record and triggers stay in its folder."""
    job = bench.job
    path = bench.place.model(job.needs[0])
    plan = Plan(detectors=detectors_of(job.defence), seed=job.seed)
    record = audit(bench.model, bench.images.defender, plan=plan, source=Source.of(path), out=bench.place.audit(job))
    compared = record.comparison
    found = GridDetected(
        verdict=record.verdict,
        p_value=None if compared is None else compared.p_value,
        first=compared.standings[0].label if compared is not None and compared.standings else None,
        suspects=tuple(suspect.label for suspect in record.suspects),
    )
    return GridPiece(key=job.key, what=str(job), detected=found, cost=record.cost)


def guard(bench: Bench) -> GridPiece:
    """Fit a guard to the defender's images, and try it with what was planted, on test images."""
    ledger, kind = Ledger(), GUARDS.create(bench.job.defence)
    learned, triggers, notes = bench.learned(ledger)
    if kind.needs_triggers and not triggers:
        return _untried(bench, ledger)
    fpr, test = bench.job.plan.fpr, bench.images.test
    fitted = kind.fit(bench.model, learned, triggers=triggers, fpr=fpr, rng=bench.rng.child("guard"))
    ledger.add("fit", fitted.cost)
    usual = scores_over(fitted, test)
    tried = _tried(bench, fitted, usual)
    ledger.add("measure", Cost(forward=(1 + len(tried)) * kind.passes * len(test) + len(tried) * len(test)))
    found = GridGuarded(
        false_positives=wilson(int((usual > fitted.threshold).sum()), len(usual)),
        missed=tuple(missed for missed, _ in tried),
        areas=tuple(area for _, area in tried),
        notes=(*notes, *fitted.notes),
    )
    return bench.piece(ledger, guarded=found)


def _tried(bench: Bench, fitted: FittedGuard, usual: Tensor) -> list[tuple[Rate | None, Area | None]]:
    """For each planted backdoor what is missed of the images on which it works, and what any threshold could do."""
    if bench.truth is None:
        return []
    (truth, tensors), test = bench.truth, bench.images.test
    labels = test.labels
    assert labels is not None
    found: list[tuple[Rate | None, Area | None]] = []
    for number, backdoor in enumerate(truth.backdoors):
        stamped, aim = triggered(test, truth, number, tensors), RELABELLINGS.create(backdoor.relabelling)
        outcomes = predictions(bench.model, stamped)
        reached = aim.attacked(labels) & aim.succeeds(outcomes, labels, num_classes=truth.classes)
        scores = scores_over(fitted, stamped)[reached]
        if not len(scores):
            found.append((None, None))
            continue
        found.append((wilson(int((scores <= fitted.threshold).sum()), len(scores)), area_under(scores, usual)))
    return found


def repair(bench: Bench) -> GridPiece:
    """Repair the model with the defender's images, and try what was planted on test images, before and after.

    Beside it stands the repair's control, the same effort without what a trigger tells, where that is another.
    """
    ledger, kind = Ledger(), REPAIRS.create(bench.job.defence)
    learned, triggers, notes = bench.learned(ledger)
    if kind.needs_triggers and not triggers:
        return _untried(bench, ledger)
    assert bench.truth is not None
    (truth, tensors), model, test = bench.truth, bench.model, bench.images.test

    def works(one: Classifier) -> tuple[Rate, ...]:
        ledger.add("measure", Cost(forward=(1 + len(truth.backdoors)) * len(test)))
        return tuple(found.success for found in measure_attack(one, test, truth, tensors=tensors))

    rng, control, beside = bench.rng.child("repair"), kind.control, None
    made = kind.repair(model, learned, triggers=triggers, rng=rng)
    ledger.add("repair", made.cost)
    if control != kind:
        beside = control.repair(model, learned, rng=rng)
        ledger.add("control", beside.cost)
    found = GridRepaired(
        accuracy=accuracy_difference(made.model, model, test),
        before=works(model),
        after=works(made.model),
        control="" if beside is None else beside.repair,
        control_accuracy=None if beside is None else accuracy_difference(beside.model, model, test),
        control_after=() if beside is None else works(beside.model),
        notes=(*notes, *made.notes),
    )
    return bench.piece(ledger, repaired=found)


def screen(bench: Bench) -> GridPiece:
    """Look for poison in what the model was trained on; the defender's images are the clean ones that screens ask for.

    Raises:
        FailedError: The poisoned set does not come out as it did when the model was trained.
    """
    ledger = Ledger()
    data, bad = _trained_on(bench)
    found = SCREENS.create(bench.job.defence).score(
        bench.model, data, clean=bench.images.defender, rng=bench.rng.child("screen")
    )
    ledger.add("screen", found.cost)
    poisoned = bool(bad.any())
    screened = GridScreened(
        caught=wilson(int((found.flagged & bad).sum()), int(bad.sum())) if poisoned else None,
        spoilt=wilson(int((found.flagged & ~bad).sum()), int((~bad).sum())),
        area=area_under(found.scores[bad], found.scores[~bad]) if poisoned else None,
        suspects=found.suspects,
        notes=found.notes,
    )
    return bench.piece(ledger, screened=screened)


def _trained_on(bench: Bench) -> tuple[ImageSet, Tensor]:
    """The training set of the model, and which of its images are poisoned, [n]."""
    data, truth = bench.images.training, bench.truth
    if truth is not None:
        attack, beside = ATTACKS.create(bench.job.attack), bench.job.needs[1]
        assert isinstance(attack, DataAttack)
        made: Poisoned = attack.apply(data, model=bench.opened(beside), rng=bench.rng.child("poison"))
        if made.truth.poisoned_digest != truth[0].poisoned_digest:
            raise FailedError(
                expected=f"the training set of {bench.place.model(bench.job.needs[0]).name} again",
                got="another one from the same seed",
                remedy="Start the grid over with --fresh.",
            )
        data = made.data
    bad = torch.zeros(len(data), dtype=torch.bool)
    for backdoor in () if truth is None else truth[0].backdoors:
        bad[list(backdoor.poisoned)] = True
    return data, bad


def _untried(bench: Bench, ledger: Ledger) -> GridPiece:
    return bench.piece(ledger, untried=f"{bench.job.plan.triggers} recovered no trigger that works")
