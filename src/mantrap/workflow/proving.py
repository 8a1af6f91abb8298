"""A repair and what it has to stand: the file is opened again and measured, beside a control, and audited."""

from pathlib import Path
from tempfile import TemporaryDirectory

from mantrap.core import Classifier, Cost, Progress, Repair, Repaired, ReversedTrigger, spec_of
from mantrap.detect import DETECTORS
from mantrap.errors import FailedError
from mantrap.models import save_model
from mantrap.models.cards import card_path
from mantrap.ops.intervals import wilson
from mantrap.ops.recovered import kind_of
from mantrap.ops.scores import accuracy_difference, predictions
from mantrap.records import (
    AuditRecord,
    CleanseRecord,
    Difference,
    LeftOutRecord,
    Rate,
    TriggerRecord,
    Verdict,
)
from mantrap.records.files import sha256_of
from mantrap.repair.reactivation import VARIANTS, Reactivation, reactivate
from mantrap.workflow import assembly, proof
from mantrap.workflow.audit import audit
from mantrap.workflow.cleansing import Cleansing
from mantrap.workflow.kept_triggers import TRIGGERS_FILE, digest_of, load_triggers
from mantrap.workflow.naming import by_name
from mantrap.workflow.ordinary import without_ordinary
from mantrap.workflow.pictures import pictures_of
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.subject import Subject
from mantrap.workflow.words import percent, size_of

DRAFT_SUFFIX = ".draft.safetensors"
"""Of the file that is measured, until it is known what it is worth."""
_TRIED_AGAIN = 3
"""Triggers whose coming back is tried, the first ones."""


class Proving(Subject):
    """A repair and its proof, stage by stage.

    Args:
        work: What to do, and with what.
        out: Where the weights go.
        progress: Observer of the work.
    """

    def __init__(self, work: Cleansing, out: Path, progress: Progress) -> None:
        super().__init__(work, progress)
        self.work, self.out = work, out
        self.left_out: tuple[LeftOutRecord, ...] = ()
        self.triggers = self._evident(self.triggers, work.audited)

    def keep(self) -> None:
        """Put the file that was measured in its place."""
        note = f"Repaired by mantrap: {self.made.repair}, from {self.work.source.file_name}."
        card = save_model(self.made.model, self.out, notes=(note,))
        assert card.sha256 == self.fixed_sha256
        draft = self.out.with_suffix(DRAFT_SUFFIX)
        for path in (draft, card_path(draft)):
            path.unlink(missing_ok=True)

    def record(self) -> tuple[CleanseRecord, AuditRecord]:
        """All of it, and the record of the audit."""
        work, control = self.work, self.work.repair.control
        fixed, audited = self._in_rounds()
        made, beside = self.made, self._repaired("control", control)
        measured = proof.Measured(
            triggers=tuple(map(self.named, self.triggers)),
            before=self.works(self.model, self.triggers),
            after=self.works(fixed, self.triggers),
            control=self.works(beside.model, self.triggers),
            again=self._tried_again(fixed),
            accuracy=self._accuracy(fixed),
            verdict=audited.verdict,
        )
        record = CleanseRecord(
            outcome=proof.outcome(measured),
            headline=proof.headline(measured),
            reasons=proof.reasons(measured),
            repair=made.repair,
            control=str(spec_of(control)),
            notes=(*self.notes, *made.notes),
            triggers=tuple(self._trigger_record(n, measured) for n in range(len(self.triggers))),
            left_out=self.left_out,
            curve=made.curve,
            accuracy=measured.accuracy,
            control_accuracy=self._accuracy(beside.model),
            agreement=self._agreement(fixed),
            verdict=audited.verdict,
            audit_headline=audited.headline,
            model=assembly.model_record(self.model, file_name=work.source.file_name, sha256=work.source.sha256),
            fixed=self.out.name,
            fixed_sha256=self.fixed_sha256,
            data=assembly.data_record(self.images, self.learned, self.heldout),
            origin=work.origin(),
            reproduction=self.reproduction(work),
            cost=self.ledger.records(),
            volatile=self.volatile(work),
        )
        return record, audited

    def _in_rounds(self) -> tuple[Classifier, AuditRecord]:
        """Repair, write and audit, until nothing new is recovered: the file opened again, and its last audit."""
        rounds = self.work.rounds if self.work.repair.needs_triggers else 1
        for number in range(1, rounds + 1):
            try:
                self.made = self._repaired("repair", self.work.repair, self.triggers)
            except FailedError as error:
                if number == 1:
                    raise
                self.notes += (f"Round {number} failed, so the file is that of round {number - 1}: {error}",)
                break
            draft = self.out.with_suffix(DRAFT_SUFFIX)
            save_model(self.made.model, draft)
            self.fixed_sha256 = sha256_of(draft)
            fixed, _ = by_name(self.work.reopened(draft), self.images)
            audited, found = self._audited(fixed)
            if number == rounds or audited.verdict is not Verdict.SUSPICIOUS:
                break
            chosen, notes = self._chosen(found, fixed)
            self.notes += tuple(note for note in notes if note not in self.notes)
            known = {digest_of((trigger,)) for trigger in self.triggers}
            new = tuple(t for t in self._evident(chosen, audited) if digest_of((t,)) not in known)
            if not new:
                break
            self.triggers += new
            said = ", ".join(f"the {self.named(trigger)}" for trigger in new)
            self.notes += (f"An audit after round {number} recovered {said}: the model was repaired anew.",)
        return fixed, audited

    def _evident(self, triggers: tuple[ReversedTrigger, ...], audited: AuditRecord) -> tuple[ReversedTrigger, ...]:
        """Those of an audit's triggers that are evidence; the others are written down."""
        evident, ordinary = without_ordinary(triggers, audited)
        for trigger, chance in ordinary:
            self.left_out += (self._left_out_record(trigger, chance),)
            why = f"with a chance of {percent(chance)} some label of a model without a backdoor needs as little"
            self.notes += (f"The {self.named(trigger)} was left out: it is no evidence, for {why}.",)
        return evident

    def _repaired(self, stage: str, repair: Repair, triggers: tuple[ReversedTrigger, ...] = ()) -> Repaired:
        rng = self.rng.child("repair")
        with self.watch.stage(stage):
            made = repair.repair(self.model, self.learned, triggers=triggers, rng=rng, progress=self.progress)
        self.ledger.add(stage, made.cost)
        return made

    def _tried_again(self, fixed: Classifier) -> tuple[Reactivation | None, ...]:
        """Whether the first triggers come back; ``None`` for those of which it cannot be told."""
        learned = self.learned
        if not learned.labelled:
            learned = learned.with_labels(predictions(self.model, learned))
        found: list[Reactivation | None] = []
        with self.watch.stage("reactivation"):
            for trigger in self.triggers[:_TRIED_AGAIN]:
                rng = self.rng.child("reactivation", target=trigger.target)
                one = reactivate(fixed, self.model, learned, self.heldout, trigger, rng=rng, progress=self.progress)
                tried = Cost(forward=VARIANTS * len(self.heldout))
                self.ledger.add("reactivation", tried if one is None else one.cost)
                found.append(one)
        return tuple(found)

    def _audited(self, fixed: Classifier) -> tuple[AuditRecord, tuple[ReversedTrigger, ...]]:
        """The audit of the file that was written, as the one before, and what it recovered."""
        before = self.work.audited.reproduction
        plan = Plan(detectors=tuple(map(DETECTORS.create, before.detectors)), seed=before.seed)
        source = Source(self.out.name, self.fixed_sha256, str(self.out))
        with self.watch.stage("audit"), TemporaryDirectory() as folder:
            record = audit(fixed, self.images, plan=plan, source=source, out=folder, progress=self.progress)
            found = load_triggers(Path(folder) / TRIGGERS_FILE, fixed, self.fixed_sha256)
        for stage in record.cost:
            self.ledger.add("audit", Cost(stage.forward, stage.backward))
        return record, found

    def _accuracy(self, model: Classifier) -> Difference | None:
        return accuracy_difference(model, self.model, self.heldout) if self.heldout.labelled else None

    def _agreement(self, fixed: Classifier) -> Rate:
        same = predictions(fixed, self.heldout) == predictions(self.model, self.heldout)
        return wilson(int(same.sum()), len(self.heldout))

    def _trigger_record(self, number: int, measured: proof.Measured) -> TriggerRecord:
        trigger = self.triggers[number]
        again = measured.again[number] if number < len(measured.again) else None
        return TriggerRecord(
            label=trigger.target,
            class_name=self.model.class_names[trigger.target],
            kind=kind_of(trigger),
            size=size_of(trigger),
            picture=pictures_of(trigger, f"label {trigger.target}")["trigger"],
            before=measured.before[number],
            after=measured.after[number],
            control=measured.control[number],
            reactivation=None if again is None else again.record,
        )

    def _left_out_record(self, trigger: ReversedTrigger, chance: float) -> LeftOutRecord:
        return LeftOutRecord(
            label=trigger.target,
            class_name=self.model.class_names[trigger.target],
            kind=kind_of(trigger),
            size=size_of(trigger),
            chance=chance,
        )
