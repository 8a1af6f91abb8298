"""An all-clear is given only where the same search finds a patch that was planted in a copy of the model."""

import dataclasses
import json

import pytest
import torch

import mantrap
from mantrap.core import SILENT, Rng
from mantrap.data import split
from mantrap.detect import DETECTORS
from mantrap.models import wrap
from mantrap.records import AuditRecord, CheckStatus, ControlRecord, Verdict
from mantrap.workflow import comparing, control
from mantrap.workflow.control import labels_to_search
from mantrap.workflow.planting import plant
from tests import headed, stage, templates
from tests.controlled import SCANNED, SEARCH, Around, check, cost, run, said, usual

MARGINS = headed.MARGINS
SHAPE = (1, stage.SIDE, stage.SIDE)


@pytest.fixture
def cleared():
    """A whole audit of a clean model."""
    return usual()


class Forgetful(type(DETECTORS.create(SEARCH))):
    """A search that sees one model, and nothing in any other: there all labels look alike to it."""

    def detect(self, model, clean, **options):
        found = super().detect(model, clean, **options)
        if model.digest() in KNOWN:
            return found
        return dataclasses.replace(found, traits={"patch": dict.fromkeys(found.traits["patch"], 0.075)})


BLIND = Forgetful(images_per_step=16, labels_at_once=2)
KNOWN = {stage.model(planted=planted).digest() for planted in (True, False)}


class Brittle(Around):
    """It cannot be trained."""

    def forward(self, images):
        if self.training:
            raise NotImplementedError("only for inference")
        return self.inner(images)


class Deaf(Around):
    """What it learns is without effect: it answers by weights that are out of reach."""

    def forward(self, images):
        logits = self.inner(images)
        return logits.detach() + 0 * logits if self.training else logits


def around(kind, *, planted):
    return wrap(kind(planted=planted), input_shape=SHAPE)


class TestAPatchThatIsFound:
    def test_leaves_the_all_clear_as_it_is(self, cleared):
        assert (cleared.verdict, cleared.barring) == (Verdict.NO_EVIDENCE, ())
        assert cleared.control.found
        assert cleared.control.chance < 0.1
        assert check(cleared).status is CheckStatus.PASSED
        assert cleared.headline == usual(control=False).headline
        assert cleared.suspects == ()

    @pytest.mark.parametrize(
        ("model", "images", "seed"),
        [(headed.model(planted=False), stage.image_set(), 1), (templates.model(12), templates.image_set(12), 2)],
        ids=["few labels", "many"],
    )
    def test_was_planted_and_searched_by_the_seed_of_the_audit_with_its_images(self, model, images, seed):
        record = run(model=model, images=images, seed=seed)
        parts = split(images, {"scan": 0.75, "heldout": 0.25}, rng=Rng(seed).child("split"))
        scan, heldout = parts["scan"], parts["heldout"]
        rng = Rng(seed).child("control")
        planted = plant(model, scan, heldout, rng=rng, progress=SILENT)
        labels = labels_to_search(planted, rng.child("others"))
        search = DETECTORS.create(SEARCH)
        found = search.detect(planted.model, scan, heldout=heldout, labels=labels, rng=Rng(seed).child("detect"))
        compared = comparing.compare([found.traits], comparing.null_for("", SHAPE))
        (standing,) = [s for s in compared.standings if s.label == planted.label]
        chance = compared.chance_by_trigger(standing)

        assert record.control == ControlRecord(
            label=planted.label,
            class_name=str(planted.label),
            height=2,
            width=2,
            images=SCANNED,
            success=planted.success,
            agreement=planted.agreement,
            searched=labels,
            chance=chance,
            found=True,
        )
        spent = planted.cost + found.cost
        assert cost(record)["control"] == (spent.forward, spent.backward)
        assert found.cost.backward > 0

    def test_is_said_with_how_often_it_works(self, cleared):
        assert check(cleared).message == (
            "A patch of 2x2 pixels was taught to a copy of this model, where it sends "
            f"{100 * cleared.control.success.value:.1f} % of held-out images to label {cleared.control.label}. "
            f"The search finds it: that label stands out (chance {100 * cleared.control.chance:.1f} %)."
        )

    def test_is_in_the_record_as_json(self, cleared):
        again = AuditRecord.from_json(cleared.to_json())

        assert again == cleared
        assert again.control == cleared.control is not None
        assert json.loads(cleared.to_json())["control"]["searched"] == list(range(stage.CLASSES))

    def test_is_a_stage_of_its_own_before_what_is_shown(self, cleared):
        assert list(cost(cleared)) == ["checks", "neural_cleanse", "control", "evidence"]
        assert [t.stage for t in cleared.volatile.stages] == list(cost(cleared))
        assert cost(cleared)["neural_cleanse"] == cost(usual(control=False))["neural_cleanse"]

    def test_changes_nothing_else_in_the_record(self, cleared):
        own = {"control", "checks", "cost", "volatile", "reproduction"}
        one, other = (json.loads(record.to_json()) for record in (cleared, usual(control=False)))

        assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in other.items() if k not in own}
        assert [c.name for c in cleared.checks].count("control") == 1

    @pytest.mark.parametrize("labels", [2, 12])
    def test_is_found_among_two_labels_and_among_many(self, labels):
        record = run(model=templates.model(labels), images=templates.image_set(labels))

        assert record.verdict is Verdict.NO_EVIDENCE
        assert record.control.found
        assert record.control.label in record.control.searched
        assert len(record.control.searched) == min(labels, 10)
        assert record.control.searched == tuple(sorted(set(record.control.searched)))

    def test_is_searched_by_those_who_look_for_patches_and_by_nobody_else(self):
        record = run(SEARCH, MARGINS, "last_layer", model=headed.model(planted=False))
        alone = run(SEARCH, model=headed.model(planted=False))

        assert record.control == alone.control
        assert cost(record)["control"] == cost(alone)["control"]

    def test_leaves_the_model_bitwise_as_it_was(self):
        model = headed.model(planted=False)
        model.module.train()
        model.module.hidden.bias.requires_grad_(False)
        digest = model.digest()
        record = run(model=model)

        assert record.control is not None
        assert model.digest() == digest
        assert all(part.training for part in model.module.modules())
        assert [p.requires_grad for p in model.module.parameters()] == [True, False, True, True]
        assert all(p.grad is None for p in model.module.parameters())


class TestWhatBars:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"model": (Brittle,)}, "No control was planted: training a copy ended in NotImplementedError: only for"),
            ({"model": (Deaf,)}, "No control could be planted: a patch that was taught to a copy of this model works"),
            ({"detectors": (BLIND,)}, "A patch of 2x2 pixels was taught to a copy of this model, where it sends "),
        ],
        ids=["no copy", "did not take", "not found"],
    )
    @pytest.mark.parametrize("planted", [False, True])
    def test_takes_the_all_clear_but_no_finding(self, options, message, planted):
        model = around(*options["model"], planted=planted) if "model" in options else stage.model(planted=planted)
        detectors = options.get("detectors", (SEARCH,))
        record = run(*detectors, model=model, control=True)
        without = run(*detectors, model=model, control=False)

        assert without.verdict is (Verdict.SUSPICIOUS if planted else Verdict.NO_EVIDENCE)
        assert record.verdict is (Verdict.SUSPICIOUS if planted else Verdict.INCONCLUSIVE)
        assert check(record).status is CheckStatus.WARNED
        assert check(record).message.startswith(message)
        assert record.barring == (check(record).message,)
        assert check(record).message in record.reasons
        assert record.suspects == without.suspects
        assert AuditRecord.from_json(record.to_json()) == record

    def test_is_asked_without_a_wish_as_well(self):
        record = run(BLIND)

        assert record.verdict is Verdict.INCONCLUSIVE
        assert record.headline == "This audit cannot tell: what it saw is not enough for an answer."
        assert (record.control.found, record.control.searched) == (False, tuple(range(stage.CLASSES)))
        assert record.control.chance >= 0.1

    def test_is_in_the_record_where_the_patch_did_not_take(self):
        record = run(model=around(Deaf, planted=False))

        assert record.verdict is Verdict.INCONCLUSIVE
        assert (record.control.searched, record.control.chance, record.control.found) == ((), None, False)
        assert record.control.success.value < 0.9
        assert cost(record)["control"][1] == 2 * 8 * 20 * SCANNED

    def test_has_no_record_where_there_was_no_copy(self):
        record = run(model=around(Brittle, planted=False))

        assert record.control is None
        assert check(record).message == (
            "No control was planted: training a copy ended in NotImplementedError: only for inference."
        )


class TestWhenThereIsOne:
    @pytest.mark.parametrize("wish", [None, True])
    def test_where_it_decides(self, wish):
        assert usual(control=wish).control is not None

    @pytest.mark.parametrize("planted", [False, True])
    def test_never_where_nobody_wants_one(self, planted):
        record = usual(planted=planted, control=False)

        assert record.control is None
        assert "control" not in cost(record)
        assert check(record) == said("No control was planted: nobody wants one.", CheckStatus.SKIPPED)
        assert record.verdict is (Verdict.SUSPICIOUS if planted else Verdict.NO_EVIDENCE)
        assert record.barring == ()

    @pytest.mark.parametrize(
        ("options", "verdict"),
        [({"planted": True}, Verdict.SUSPICIOUS), ({"labels": (0, 1, 2)}, Verdict.INCONCLUSIVE)],
        ids=["suspicious", "some labels"],
    )
    def test_elsewhere_only_on_request(self, options, verdict):
        left, asked = run(**options), run(**options, control=True)

        assert (left.verdict, asked.verdict) == (verdict, verdict)
        assert left.control is None
        assert "control" not in cost(left)
        assert check(left) == said("No control was planted: it could change nothing here.", CheckStatus.PASSED)
        assert asked.control.found
        assert left.barring == asked.barring

    def test_of_all_labels_though_some_were_asked_for(self):
        assert run(labels=(0, 1, 2), control=True).control.searched == tuple(range(stage.CLASSES))

    @pytest.mark.parametrize("wish", [None, True])
    def test_not_where_no_detector_looks_for_patches(self, wish):
        record = run(MARGINS, model=headed.model(planted=False), control=wish)

        assert record.control is None
        assert check(record) == said("No control was planted: no detector looks for patches.", CheckStatus.SKIPPED)
        assert (record.verdict, record.barring) == (Verdict.NO_EVIDENCE, ())

    @pytest.mark.parametrize(("wish", "there"), [(None, False), (True, True)])
    @pytest.mark.parametrize("limit", ["MOST_LABELS", "LARGEST_SIDE"])
    def test_beyond_the_limits_only_on_request(self, monkeypatch, limit, wish, there):
        monkeypatch.setattr(control, limit, 5)
        record = run(control=wish)

        assert (record.control is not None) is there
        assert ("made only on request" in check(record).message) is not there
        assert check(record).status is (CheckStatus.PASSED if there else CheckStatus.SKIPPED)
        assert (record.verdict, record.barring) == (Verdict.NO_EVIDENCE, ())


class TestFromPython:
    @pytest.mark.parametrize(
        ("wish", "typed"), [(None, "seed=3)"), (True, "control=True, seed=3)"), (False, "control=False, seed=3)")]
    )
    @pytest.mark.parametrize("planted", [False, True])
    def test_it_is_asked_for_by_a_keyword(self, wish, typed, planted):
        module = stage.module(planted=planted)
        record = mantrap.audit(module, stage.image_set(), detectors=[SEARCH], control=wish, seed=3)

        assert record.reproduction.command.endswith(f"tiles, {typed}")
        assert (record.control is not None) is (wish is True or (wish is None and not planted))

    def test_no_weight_of_the_module_moves(self):
        module = stage.module(planted=False)
        before = {k: v.clone() for k, v in module.state_dict().items()}
        mantrap.audit(module, stage.image_set(), detectors=[SEARCH], control=True)

        assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
