"""A model is repaired, written, and measured as it was written; the same work is done once."""

import dataclasses

import pytest
import safetensors.torch
import torch

from mantrap.core import Cost, ImageSet, ReversedPerturbation, Rng
from mantrap.data import split
from mantrap.errors import DataError, UsageError
from mantrap.models.cards import read_card
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import accuracy, predictions, trigger_success
from mantrap.records import AuditRecord, CleanseRecord, Outcome, Verdict
from mantrap.records.files import sha256_of
from mantrap.workflow import proving, subject
from mantrap.workflow.cleanse import cleanse
from mantrap.workflow.kept_triggers import digest_of
from mantrap.workflow.plan import Source
from mantrap.workflow.words import size_of
from tests import cleansing, headed, sourced, stage
from tests.cleansing import HIDING, TUNING, UNLEARNING, reopened, stable, work

pytestmark = pytest.mark.usefixtures("hasty", "as_recovered")
SQUARE, WHOLE = sourced.square(), torch.ones(stage.SIDE, stage.SIDE)
CHANGE = ReversedPerturbation(stage.TARGET, stage.tiles()[None, stage.TARGET])
TOLD = (("patch", stage.TARGET, 1e-6), ("perturbation", stage.TARGET, 0.25))
"""What a patch and a change of all pixels for the planted label are by the side of ordinary ones."""


@pytest.fixture(scope="module")
def searched(place):
    """The record of its audit by a search for patches, which accuses it."""
    return cleansing.audited(place, stage.QUICK)


@pytest.fixture(scope="module")
def fixed(place, searched, as_recovered):
    """The file that a repair with that record and the known trigger writes, and its record."""
    out = place / "fixed" / "fixed.safetensors"
    return out, cleanse(work(place, UNLEARNING, audited=searched), out)


def heldout(images=None, seed=0):
    parts = split(images or stage.image_set(), {"scan": 0.75, "heldout": 0.25}, rng=Rng(seed).child("split"))
    return parts["scan"], parts["heldout"]


def works(model, trigger=SQUARE):
    return trigger_success(model, heldout()[1], lambda batch: put_on(batch, trigger), trigger.target)


class TestRepaired:
    def test_the_backdoor_is_gone_by_all_that_is_measured(self, fixed, searched):
        _, record = fixed
        (trigger,) = record.triggers

        assert searched.verdict is Verdict.SUSPICIOUS
        assert (record.outcome, record.verdict) == (Outcome.REPAIRED, Verdict.NO_EVIDENCE)
        assert record.headline.startswith("No known trigger works on any of 25 held-out images")
        assert (trigger.before.value, trigger.after.value, trigger.control.value) == (1.0, 0.0, 1.0)
        assert (trigger.label, trigger.class_name, trigger.kind) == (stage.TARGET, "4", "patch")
        assert trigger.size == "4.0 pixels' worth of change"
        assert trigger.picture.alt.startswith("Trigger for label 4")
        assert not trigger.reactivation.remembered
        assert record.reasons[0].startswith("The patch for label 4 worked on 100.0 % of held-out images")
        assert (record.repair, record.control) == (UNLEARNING, "fine_tuning(updates=80, optimizer='adam(lr=0.003)')")

    def test_what_was_measured_is_the_file_that_was_written(self, fixed, place):
        out, record = fixed
        model, before = reopened(out), reopened(place / "headed.safetensors")
        same = predictions(model, heldout()[1]) == predictions(before, heldout()[1])

        assert (record.fixed, record.fixed_sha256) == (out.name, sha256_of(out))
        assert record.triggers[0].before == works(before)
        assert record.triggers[0].after == works(model)
        assert record.accuracy.first == accuracy(model, heldout()[1])
        assert record.accuracy.second == record.control_accuracy.second == accuracy(before, heldout()[1])
        assert (record.agreement.hits, record.agreement.total) == (int(same.sum()), 30)
        assert record.model.sha256 == sha256_of(place / "headed.safetensors") != record.fixed_sha256

    def test_the_card_says_what_was_done(self, fixed):
        assert read_card(fixed[0]).notes == (f"Repaired by mantrap: {UNLEARNING}, from headed.safetensors.",)

    def test_the_record_and_that_of_its_audit_lie_beside_it(self, fixed, searched):
        out, record = fixed
        audited = AuditRecord.from_json(out.with_suffix(".audit.json").read_text())

        assert CleanseRecord.from_json(out.with_suffix(".cleanse.json").read_text()) == record
        assert out.with_suffix(".cleanse.json").read_text() == record.to_json()
        assert (audited.model.sha256, audited.model.file_name) == (record.fixed_sha256, out.name)
        assert (audited.verdict, audited.headline) == (record.verdict, record.audit_headline)
        assert audited.reproduction.detectors == searched.reproduction.detectors == record.reproduction.detectors
        assert audited.reproduction.seed == searched.reproduction.seed
        assert sorted(path.name for path in out.parent.iterdir()) == [
            f"fixed.{kind}" for kind in ("audit.json", "card.json", "cleanse.json", "safetensors")
        ]

    def test_every_stage_has_its_cost_and_its_time(self, fixed):
        record = fixed[1]
        cost = {stage.stage: (stage.forward, stage.backward) for stage in record.cost}

        assert set(cost) == {"sharpen", "repair", "control", "audit", "measure", "reactivation"}
        assert {stage.stage for stage in record.volatile.stages} == set(cost)
        assert cost["repair"][1] == cost["control"][1] == 27 * 90
        assert min(cost["repair"][0], cost["control"][0]) >= 27 * 90
        assert cost["measure"] == (4 * 30, 0)  # to see whether it works, before, repaired, and the control
        assert cost["reactivation"] == (5 * 3 * (120 + 30) + 4 * 30, 5 * 3 * 120)
        audited = AuditRecord.from_json(fixed[0].with_suffix(".audit.json").read_text())
        assert cost["audit"] == tuple(sum(getattr(c, way) for c in audited.cost) for way in ("forward", "backward"))

    def test_where_it_came_from_is_all_written_down(self, fixed, place):
        record = fixed[1]
        assert record.origin == {
            "kind": "repaired model",
            "model": sha256_of(place / "headed.safetensors"),
            "repair": UNLEARNING,
            "triggers": digest_of(work(place).triggers),
            "preprocessing": work(place).model.digest(),
            "images": stage.image_set().digest(),
            "seed": "0",
            "detectors": stage.QUICK,
            "rounds": "1",
        }
        assert (record.reproduction.command, record.reproduction.seed) == ("as typed", 0)
        assert record.volatile.model_path == str(place / "headed.safetensors")


class TestNotRepaired:
    def test_a_repair_that_leaves_the_backdoor_is_none(self, place, searched, out):
        record = cleanse(work(place, TUNING, audited=searched), out)

        assert (record.outcome, record.verdict) == (Outcome.NOT_REPAIRED, Verdict.SUSPICIOUS)
        assert record.triggers[0].after.value == 1.0
        assert record.triggers[0].reactivation.remembered
        assert record.headline == "The patch for label 4 still works on 100.0 % of held-out images."
        assert "An audit of the repaired file is SUSPICIOUS." in record.reasons
        assert record.repair == record.control == TUNING

    def test_one_that_only_hides_it_is_none_either(self, place, out):
        record = cleanse(work(place, HIDING), out)
        (trigger,) = record.triggers

        assert (trigger.after.value, record.outcome) == (0.0, Outcome.NOT_REPAIRED)
        assert trigger.reactivation.remembered
        assert [rate.value for rate in trigger.reactivation.rounds][-1] > 0.9
        assert record.headline.startswith("The model remembers the patch for label 4: ")

    def test_what_the_file_does_counts_whatever_the_repair_made(self, place, out):
        asked = []

        def another(path):
            asked.append(path)
            return reopened(place / "headed.safetensors")

        record = cleanse(work(place, UNLEARNING, reopened=another), out)
        assert asked == [out.with_suffix(".draft.safetensors")]
        assert not list(out.parent.glob("*.draft.*"))
        assert record.fixed_sha256 == sha256_of(out)
        assert works(reopened(out)).value == 0
        assert (record.outcome, record.triggers[0].after.value) == (Outcome.NOT_REPAIRED, 1.0)
        assert (record.agreement.value, record.accuracy.value) == (1.0, 0.0)

    def test_without_a_trigger_unlearning_is_refused_and_nothing_is_written(self, place, out):
        with pytest.raises(UsageError, match="a recovered trigger to take out"):
            cleanse(work(place, UNLEARNING, triggers=()), out)
        assert list(out.parent.iterdir()) == []

    def test_without_a_trigger_nothing_shows_that_fine_tuning_has_helped(self, place, out):
        record = cleanse(work(place, triggers=()), out)
        assert (record.outcome, record.triggers) == (Outcome.NOT_REPAIRED, ())
        assert record.headline == "No trigger is known, so nothing shows whether one is gone."
        assert "reactivation" not in {cost.stage for cost in record.cost if cost.forward}


class TestTriggers:
    def test_each_has_its_own_numbers_and_the_first_three_are_tried_again(self, place, out, monkeypatch):
        seen = []
        monkeypatch.setattr(proving, "reactivate", lambda *given, **_: seen.append(given[4]))
        whole = [dataclasses.replace(SQUARE, target=k, mask=WHOLE, pattern=stage.tiles()[None, k]) for k in (0, 1, 2)]
        record = cleanse(work(place, triggers=(whole[0], SQUARE, *whole[1:])), out)

        assert [t.label for t in record.triggers] == [0, stage.TARGET, 1, 2]
        assert [t.before.value for t in record.triggers] == [1, 1, 1, 1]
        assert [t.size.split()[0] for t in record.triggers] == ["256.0", "4.0", "256.0", "256.0"]
        assert [t.target for t in seen] == [0, stage.TARGET, 1]
        assert [t.reactivation for t in record.triggers] == [None] * 4
        assert [said.endswith("shuffled as well.") for said in record.reasons].count(True) == 3

    def test_those_that_do_not_work_are_left_out_and_said_so(self, place, out, notes):
        silent = dataclasses.replace(SQUARE, target=3, mask=0 * SQUARE.mask)
        record = cleanse(work(place, notes, triggers=(silent, SQUARE)), out)

        assert [t.label for t in record.triggers] == [stage.TARGET]
        assert [t.target for t in notes.asked[0][3]] == [stage.TARGET]
        assert record.notes == (
            "The patch for label 3 works on 0.0 % of held-out images only, and was left out.",
            "Looked about.",
        )

    def test_those_that_a_clean_model_has_as_well_are_left_out_and_said_so(self, place, out, notes):
        whole = dataclasses.replace(SQUARE, mask=WHOLE, pattern=stage.tiles()[None, stage.TARGET])
        audited = cleansing.told(cleansing.usual(place), *TOLD)
        record = cleanse(work(place, notes, triggers=(whole, CHANGE), audited=audited), out)

        assert {given for *_, given, _ in notes.asked} == {(whole,), ()}
        assert [t.kind for t in record.triggers] == ["patch"]
        (left_out,) = record.left_out
        assert (left_out.label, left_out.class_name) == (stage.TARGET, "4")
        assert (left_out.kind, left_out.size) == ("change of all pixels", size_of(CHANGE))
        assert left_out.chance == pytest.approx(1 - 0.75**6)
        why = "with a chance of 82.2 % some label of a model without a backdoor needs as little"
        said = f"The change of all pixels for label 4 was left out: it is no evidence, for {why}."
        assert record.notes == (said, "Looked about.")
        assert CleanseRecord.from_json(record.to_json()) == record

    def test_what_works_no_more_is_no_evidence_against_others(self, place, out, notes):
        """A patch that stands out and yet does not work: the ordinary change for its label is all that there is."""
        silent = dataclasses.replace(SQUARE, mask=0 * SQUARE.mask)
        audited = cleansing.told(cleansing.usual(place), *TOLD)
        record = cleanse(work(place, notes, triggers=(silent, CHANGE), audited=audited), out)

        assert [t.kind for t in record.triggers] == ["change of all pixels"]
        assert record.left_out == ()

    def test_those_that_a_longer_search_finds_take_their_place(self, place, out, notes, monkeypatch):
        faint = sourced.square(opacity=0.9)
        asked, seen = [], []

        def sharpened(*given, **_):
            asked.append(given)
            return (faint,), Cost(11, 7)

        monkeypatch.setattr(subject, "sharpened", sharpened)
        monkeypatch.setattr(proving, "reactivate", lambda *given, **_: seen.append(given[4]))
        record = cleanse(work(place, notes), out)
        ((_, learned, measured, triggers),) = asked

        assert [learned.digest(), measured.digest()] == [part.digest() for part in heldout()]
        assert [t.norm for t in triggers] == [4.0]
        assert notes.asked[0][3] == tuple(seen) == (faint,)
        assert record.triggers[0].size == "3.6 pixels' worth of change"
        assert {c.stage: (c.forward, c.backward) for c in record.cost}["sharpen"] == (11, 7)

    def test_it_is_tried_on_the_file_beside_the_model_before(self, place, out, monkeypatch):
        seen = []
        monkeypatch.setattr(proving, "reactivate", lambda *given, **_: seen.append(given))
        cleanse(work(place, UNLEARNING), out)
        ((fixed, before, learned, measured, trigger),) = seen

        assert [fixed.digest(), before.digest()] == [
            reopened(path).digest() for path in (out, place / "headed.safetensors")
        ]
        assert [learned.digest(), measured.digest()] == [part.digest() for part in heldout()]
        assert (trigger.target, trigger.norm) == (SQUARE.target, SQUARE.norm)


class TestImages:
    def test_no_held_out_image_reaches_the_repair(self, place, out, notes, monkeypatch):
        images, labels = stage.pixels(120)
        doubled = ImageSet.from_array(torch.cat([images, images[:50]]), torch.cat([labels, labels[:50]]), name="tiles")
        learned = []
        monkeypatch.setattr(proving, "reactivate", lambda *given, **_: learned.append(given[2]))
        audited = cleansing.audited(place, images=doubled)
        record = cleanse(work(place, notes, audited=audited, images=doubled), out)
        given = [clean for _, _, clean, _, _ in notes.asked] + learned
        measured = set(heldout(doubled)[1].content_hashes)

        assert len(given) == 3
        for clean in given:
            assert clean.digest() == record.data.scan_digest == audited.data.scan_digest
            assert not set(clean.content_hashes) & measured
        assert (record.data.heldout_digest, record.data.images) == (audited.data.heldout_digest, 170)

    def test_they_are_parted_as_the_audit_parted_them(self, place, out, notes):
        audited = cleansing.audited(place, seed=5)
        record = cleanse(work(place, notes, audited=audited), out)
        assert record.data == audited.data
        assert record.data.heldout_digest == heldout(seed=5)[1].digest() != heldout(seed=0)[1].digest()
        assert (record.reproduction.seed, record.origin["seed"]) == (5, "5")

    def test_the_control_gets_the_same_but_no_trigger(self, place, out, notes):
        given = work(place, notes)
        record = cleanse(given, out)
        (repaired, control) = notes.asked

        assert (repaired[0], control[0]) == (False, True)
        assert (repaired[3], control[3]) == (given.triggers, ())
        assert repaired[1] == control[1] == given.model.digest()
        assert repaired[2].digest() == control[2].digest()
        assert repaired[4] == control[4]
        assert record.notes == ("Looked about.",)
        assert {c.stage: (c.forward, c.backward) for c in record.cost}["repair"] == (5, 3)
        assert record.control == "notes(control_arm=True)"

    def test_without_labels_nothing_is_said_of_accuracy(self, place, out):
        images = stage.image_set(labelled=False)
        audited = cleansing.audited(place, images=images)
        record = cleanse(work(place, UNLEARNING, images=images, audited=audited), out)

        assert (record.accuracy, record.control_accuracy, record.data.labelled) == (None, None, False)
        assert (record.outcome, record.agreement.value) == (Outcome.REPAIRED, 1.0)
        assert record.triggers[0].after.value == 0.0
        assert record.triggers[0].reactivation is not None
        assert not [said for said in record.reasons if "ccuracy" in said]

    def test_their_names_stand_in_for_those_that_the_model_lacks(self, place, out):
        images, labels = stage.pixels()
        named = ImageSet.from_array(images, labels, name="tiles", class_names=("a", "b", "c", "d", "stop", "f"))
        record = cleanse(work(place, images=named), out)
        assert record.triggers[0].class_name == "stop"
        assert record.headline.startswith("The patch for label 4 (stop) still works")
        assert read_card(out).class_names == named.class_names

    def test_labels_that_the_model_does_not_have_are_refused(self, place, out):
        images = stage.image_set()
        with pytest.raises(DataError, match="20 of 120 images with labels outside"):
            cleanse(work(place, images=images.with_labels(images.labels + 1)), out)
        assert list(out.parent.iterdir()) == []

    def test_too_few_to_part_are_refused(self, place, out):
        with pytest.raises(UsageError, match="images for the part"):
            cleanse(work(place, images=stage.image_set(1)), out)
        assert list(out.parent.iterdir()) == []


class TestPromises:
    def test_two_runs_give_the_same_bytes_outside_volatile(self, fixed, place, searched, tmp_path):
        other = tmp_path / "fixed.safetensors"
        record = cleanse(work(place, UNLEARNING, audited=searched), other)
        assert stable(record) == stable(fixed[1])
        assert other.read_bytes() == fixed[0].read_bytes()
        first, second = (path.with_suffix(".audit.json").read_text() for path in (fixed[0], other))
        assert stable(first) == stable(second)

    def test_the_model_stays_as_it_is(self, place, out):
        given = work(place, UNLEARNING)
        given.model.module.train()
        before = given.model.digest()
        cleanse(given, out)
        assert given.model.digest() == before
        assert given.model.module.training
        assert all(p.grad is None and p.requires_grad for p in given.model.module.parameters())

    def test_another_model_than_the_audited_one_is_refused(self, place, tmp_path):
        other = headed.write_model(tmp_path, planted=False)
        with pytest.raises(
            UsageError, match=r"the model that was audited, sha256 .* got headless\.safetensors"
        ) as told:
            work(place, source=Source.of(other))
        assert "audit this one first" in told.value.remedy

    def test_a_name_that_is_not_for_weights_is_refused_before_any_work(self, place, tmp_path, notes):
        with pytest.raises(UsageError, match=r"ends in \.safetensors"):
            cleanse(work(place, notes), tmp_path / "out.pt")
        assert (notes.asked, list(tmp_path.iterdir())) == ([], [])


def test_a_repair_that_changes_no_tensor_writes_the_same_weights_in_a_folder_that_is_made(place, tmp_path, notes):
    out = tmp_path / "deep" / "out.safetensors"
    cleanse(work(place, notes), out)
    before, after = (safetensors.torch.load_file(path) for path in (place / "headed.safetensors", out))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
