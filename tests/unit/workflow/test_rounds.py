"""Repair, audit, repair anew: what an audit of the repaired file recovers is taken out as well."""

import copy
import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest
import safetensors.torch
import torch

from mantrap.core import Cost, ReversedPatch, ReversedPerturbation
from mantrap.errors import FailedError, OutputError, UsageError
from mantrap.models.cards import read_card
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import trigger_success
from mantrap.records import AuditRecord, Outcome, Verdict
from mantrap.records.files import sha256_of
from mantrap.workflow import proving, subject
from mantrap.workflow.cleanse import cleanse
from tests import cleansing, headed, sourced, stage
from tests.cleansing import Notes, reopened, stable, work

pytestmark = pytest.mark.usefixtures("hasty", "as_recovered")
SQUARE, WHOLE = sourced.square(), torch.ones(stage.SIDE, stage.SIDE)
LONGER = "unlearning(updates=160)"
SILENT = dataclasses.replace(SQUARE, target=3, mask=0 * SQUARE.mask)
OTHERS = tuple(ReversedPatch(k, WHOLE, stage.tiles()[None, k]) for k in (0, 1, 2))
"""Triggers that work on every model that is right: another class's whole tile."""
SECOND = ReversedPatch(0, SQUARE.mask.flip(-1), SQUARE.pattern)
"""A white square at the lower left, for class 0."""


@dataclass(frozen=True, kw_only=True)
class Nudges(Notes):
    """The same, but it asks for triggers, and its file tells how many it was given; no answer changes."""

    name: ClassVar[str] = "nudges"
    needs_triggers: ClassVar[bool] = True

    def repair(self, model, clean, *, triggers=(), **given):
        found = super().repair(model, clean, triggers=triggers, **given)
        made = copy.copy(model)
        made.module = copy.deepcopy(model.module)
        with torch.no_grad():
            made.module.head.bias += len(triggers)
        return dataclasses.replace(found, model=made, notes=(f"Nudged by {len(triggers)}.",))


@dataclass(frozen=True, kw_only=True)
class Falls(Nudges):
    """The same, but its training diverges from so many triggers on."""

    name: ClassVar[str] = "falls"
    most: int = 1

    def repair(self, model, clean, *, triggers=(), **given):
        if len(triggers) > self.most:
            raise FailedError(expected="a finite loss", got="inf", remedy="Lower the learning rate.")
        return super().repair(model, clean, triggers=triggers, **given)


@pytest.fixture
def nudges(notes):
    del notes
    return Nudges()


class Audits:
    """Audits of repaired files, what each recovers, and the digests of the files; one that recovers something accuses.

    Nobody has to search for what they recover, nor to try whether it comes back.
    """

    def __init__(self, whole):
        self.whole, self.recovered, self.files, self.told = whole, [], [], ()

    def recover(self, *triggers):
        self.recovered += triggers

    def says(self, *told):
        """By what chances ordinary labels stand as high."""
        self.told = told

    def audit(self, model, images, *, source, **given):
        self.files.append(source.sha256)
        record = cleansing.told(self.whole(model, images, source=source, **given), *self.told)
        verdict = Verdict.SUSPICIOUS if self.found() else Verdict.NO_EVIDENCE
        return dataclasses.replace(record, verdict=verdict, headline=f"Audit {len(self.files)}.")

    def found(self, *_):
        return self.recovered[len(self.files) - 1]


@pytest.fixture
def audits(monkeypatch):
    found = Audits(proving.audit)
    monkeypatch.setattr(proving, "audit", found.audit)
    monkeypatch.setattr(proving, "load_triggers", found.found)
    monkeypatch.setattr(proving, "reactivate", lambda *_, **__: None)
    return found


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """A folder with a file of the headed model that has a second backdoor, of the second square."""
    folder = tmp_path_factory.mktemp("twice")
    weights = headed.module(planted=True).state_dict()
    weights["hidden.weight"].view(-1, stage.SIDE, stage.SIDE)[0, -2:, :2] = 15.0
    (folder / "headed.safetensors").write_bytes(safetensors.torch.save(weights))
    return folder


@pytest.fixture(scope="module")
def searched(twice):
    """The record of its audit by a search for patches."""
    return cleansing.audited_file(twice / "headed.safetensors", stage.QUICK)


def works(model, trigger):
    return trigger_success(model, stage.image_set(), lambda batch: put_on(batch, trigger), trigger.target).value


class TestTwoBackdoors:
    """A model of whose backdoors one is known, and the other is found by the audit of the first repaired file."""

    def test_one_round_leaves_the_other(self, twice, searched, out):
        record = cleanse(work(twice, LONGER, audited=searched, triggers=(SECOND,)), out)

        assert (record.outcome, record.verdict) == (Outcome.NOT_REPAIRED, Verdict.SUSPICIOUS)
        assert [t.label for t in record.triggers] == [0]
        assert works(reopened(out), SQUARE) == 1.0

    def test_a_second_takes_it_out_as_well(self, twice, searched, out):
        record = cleanse(work(twice, LONGER, audited=searched, triggers=(SECOND,), rounds=3), out)
        model, before = reopened(out), reopened(twice / "headed.safetensors")

        assert [t.label for t in record.triggers] == [0, stage.TARGET]
        assert min(works(before, t) for t in (SECOND, SQUARE)) == 1.0
        assert max(works(model, t) for t in (SECOND, SQUARE)) <= 0.05
        assert (record.outcome, record.verdict) == (Outcome.REPAIRED, Verdict.NO_EVIDENCE)
        assert [note for note in record.notes if "round" in note] == [
            "An audit after round 1 recovered the patch for label 4: the model was repaired anew."
        ]


class TestRounds:
    def test_the_model_as_it_was_is_repaired_anew_of_all_that_is_known(self, place, out, nudges, audits):
        audits.recover((OTHERS[0],), (OTHERS[1], OTHERS[2]), ())
        given = work(place, nudges, rounds=5)
        record = cleanse(given, out)

        assert asked() == [[4], [4, 0], [4, 0, 1, 2]]
        assert {digest for _, digest, *_ in Notes.asked} == {given.model.digest()}
        assert len({drawn for *_, drawn in Notes.asked}) == 1
        assert [t.label for t in record.triggers] == [4, 0, 1, 2]
        both = "the patch for label 1, the patch for label 2"
        assert record.notes == (
            "An audit after round 1 recovered the patch for label 0: the model was repaired anew.",
            f"An audit after round 2 recovered {both}: the model was repaired anew.",
            "Nudged by 4.",
        )

    def test_the_control_is_done_once(self, place, out, nudges, audits):
        audits.recover((OTHERS[0],), ())
        cleanse(work(place, nudges, rounds=2), out)

        assert [control for control, *_ in Notes.asked] == [False, False, True]

    def test_no_more_than_are_asked_for(self, place, out, nudges, audits):
        audits.recover((OTHERS[0],), (OTHERS[1],), (OTHERS[2],))
        record = cleanse(work(place, nudges, rounds=2), out)

        assert asked() == [[4], [4, 0]]
        # What the last audit recovered is left to the verdict.
        assert [t.label for t in record.triggers] == [4, 0]
        assert (record.verdict, record.outcome) == (Verdict.SUSPICIOUS, Outcome.NOT_REPAIRED)

    def test_there_is_but_one_where_nothing_is_said(self, place, out, nudges, audits):
        audits.recover((OTHERS[0],))
        record = cleanse(work(place, nudges), out)

        assert asked() == [[4]]
        assert record.origin["rounds"] == "1"

    def test_where_the_audit_does_not_accuse_that_is_the_end(self, place, out, nudges, audits, monkeypatch):
        audits.recover(())
        monkeypatch.setattr(proving, "load_triggers", lambda *_: (OTHERS[0],))
        record = cleanse(work(place, nudges, rounds=3), out)

        assert (asked(), record.notes) == ([[4]], ("Nudged by 1.",))

    def test_what_does_not_work_on_the_model_as_it_was_is_not_added(self, place, out, nudges, audits):
        audits.recover((SILENT, OTHERS[0]), (SILENT,), ())
        record = cleanse(work(place, nudges, rounds=5), out)

        assert asked() == [[4], [4, 0]]
        left_out = "The patch for label 3 works on 0.0 % of held-out images only, and was left out."
        assert record.notes.count(left_out) == 1
        assert record.verdict is Verdict.SUSPICIOUS

    def test_what_clean_models_have_as_well_is_not_added(self, place, out, nudges, audits):
        """By what the audit of the repaired file says of it, and not by what that of the model said."""
        change = ReversedPerturbation(1, stage.tiles()[None, 1])
        audits.recover((OTHERS[1], change), (change,), ())
        audits.says(("patch", 1, 1e-6), ("perturbation", 1, 0.5))
        record = cleanse(work(place, nudges, rounds=2), out)

        assert asked() == [[4], [4, 1]]
        assert [(one.label, one.kind) for one in record.left_out] == [(1, "change of all pixels")]
        assert record.notes[0].startswith("The change of all pixels for label 1 was left out: it is no evidence, ")
        assert record.notes[1] == "An audit after round 1 recovered the patch for label 1: the model was repaired anew."

    def test_what_is_known_already_is_nothing_new(self, place, out, nudges, audits):
        audits.recover((SQUARE,), ())
        record = cleanse(work(place, nudges, rounds=5), out)

        assert asked() == [[4]]
        assert [t.label for t in record.triggers] == [4]
        assert record.verdict is Verdict.SUSPICIOUS

    def test_what_is_new_is_searched_for_once_more_where_it_was_found(self, place, out, nudges, audits, monkeypatch):
        """In the model as it was, a longer search would find the known trigger of the same label again."""
        searched, other = [], dataclasses.replace(SQUARE, mask=SQUARE.mask.flip(-1))

        def sharpened(model, *given, **_):
            searched.append((model.module.head.bias[0].item(), [t.target for t in given[2]]))
            return given[2], Cost(11, 7)

        monkeypatch.setattr(subject, "sharpened", sharpened)
        audits.recover((OTHERS[0],), (OTHERS[1], other), ())
        record = cleanse(work(place, nudges, rounds=3), out)

        assert searched == [(0.0, [4]), (1.0, [0]), (2.0, [1, 4])]
        assert {c.stage: (c.forward, c.backward) for c in record.cost}["sharpen"] == (33, 21)

    def test_a_repair_that_makes_no_use_of_triggers_is_not_done_again(self, place, out, notes, audits):
        audits.recover((OTHERS[0],), ())
        record = cleanse(work(place, notes, rounds=5), out)

        assert asked() == [[4]]
        assert record.notes == ("Looked about.",)

    @pytest.mark.parametrize("rounds", [0, -1])
    def test_none_are_refused(self, place, rounds):
        with pytest.raises(UsageError, match=rf"expected one round, at least, got {rounds}\. Give --rounds 1 or more"):
            work(place, rounds=rounds)

    def test_another_number_of_them_is_another_work(self, place, out):
        cleanse(work(place, rounds=1), out)
        with pytest.raises(OutputError, match="the work of another rounds"):
            cleanse(work(place, rounds=2), out)


class TestDiverged:
    def test_a_later_round_that_fails_leaves_the_file_of_the_one_before(self, place, out, nudges, audits):
        del nudges
        audits.recover((OTHERS[0],))
        record = cleanse(work(place, Falls(), rounds=3), out)
        before, after = (safetensors.torch.load_file(path) for path in (place / "headed.safetensors", out))

        assert torch.equal(after["head.bias"], before["head.bias"] + 1)
        assert record.fixed_sha256 == sha256_of(out) == audits.files[-1]
        assert [t.label for t in record.triggers] == [4, 0]
        assert (record.outcome, record.verdict) == (Outcome.NOT_REPAIRED, Verdict.SUSPICIOUS)
        assert record.notes == (
            "An audit after round 1 recovered the patch for label 0: the model was repaired anew.",
            "Round 2 failed, so the file is that of round 1: expected a finite loss, got inf. Lower the learning rate.",
            "Nudged by 1.",
        )

    def test_a_first_round_that_fails_leaves_nothing(self, place, out, nudges, audits):
        del nudges, audits
        with pytest.raises(FailedError, match="expected a finite loss"):
            cleanse(work(place, Falls(most=0), rounds=3), out)

        assert not out.parent.exists() or not list(out.parent.iterdir())


class TestFile:
    def test_what_is_written_and_measured_is_that_of_the_last_round(self, place, out, nudges, audits):
        audits.recover((OTHERS[0],), (OTHERS[1],), ())
        record = cleanse(work(place, nudges, rounds=3), out)
        before, after = (safetensors.torch.load_file(path) for path in (place / "headed.safetensors", out))

        assert torch.equal(after["head.bias"], before["head.bias"] + 3)
        assert record.fixed_sha256 == sha256_of(out) == audits.files[-1]
        assert len(set(audits.files)) == 3
        assert read_card(out).sha256 == record.fixed_sha256
        audited = AuditRecord.from_json(out.with_suffix(".audit.json").read_text())
        assert audited.headline == record.audit_headline == "Audit 3."
        assert audited.model.sha256 == record.fixed_sha256
        assert len(list(out.parent.iterdir())) == 4

    def test_all_of_them_are_paid_for(self, place, out, nudges, audits):
        audits.recover((OTHERS[0],), (OTHERS[1], OTHERS[2]), ())
        record = cleanse(work(place, nudges, rounds=3), out)
        cost = {stage.stage: (stage.forward, stage.backward) for stage in record.cost}
        one = AuditRecord.from_json(out.with_suffix(".audit.json").read_text()).cost

        assert (cost["repair"], cost["control"]) == ((3 * 5, 3 * 3), (5, 3))
        assert cost["audit"] == (3 * sum(c.forward for c in one), 3 * sum(c.backward for c in one))
        # Each once to see whether it works; all four before, repaired, and with the control.
        assert cost["measure"] == ((4 + 3 * 4) * 30, 0)

    def test_two_runs_give_the_same_record(self, place, out, nudges, audits, tmp_path):
        audits.recover((OTHERS[0],), ())
        first = cleanse(work(place, nudges, rounds=3), out)
        audits.files.clear()
        other = tmp_path / "again" / out.name

        assert stable(cleanse(work(place, nudges, rounds=3), other)) == stable(first)
        assert other.read_bytes() == out.read_bytes()


def asked():
    """The labels of the triggers that every repair was given, the control's left out."""
    return [[t.target for t in triggers] for control, _, _, triggers, _ in Notes.asked if not control]
