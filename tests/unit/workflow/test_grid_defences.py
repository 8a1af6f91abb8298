"""What a grid says of a network that was wired by hand, and of defences of which all is known."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.models import ARCHITECTURES, open_model, wrap
from mantrap.ops.intervals import wilson
from mantrap.ops.recovered import put_on
from mantrap.ops.roc import area_under
from mantrap.ops.scores import accuracy, predictions
from mantrap.poison import ATTACKS
from mantrap.records import AuditRecord, CellState, GridRecord
from mantrap.workflow import grid_defences
from mantrap.workflow.audit import audit
from mantrap.workflow.benchmark import Benchmarking, benchmark
from mantrap.workflow.grid_images import drawn
from mantrap.workflow.kept_triggers import TRIGGERS_FILE, save_triggers
from mantrap.workflow.parting import parted
from tests import gridding, guarding, headed, stage

FIRST, SECOND = guarding.PLANT.trigger, guarding.PLANT.other


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return gridding.write_images(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def plan(data):
    with gridding.registered():
        return gridding.plan(data, detectors=[headed.MARGINS], guards=["corner", "neuron_filter"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def record(plan, folder) -> GridRecord:
    with gridding.registered():
        gridding.White.given.clear()
        return benchmark(Benchmarking(plan=plan), folder)


@pytest.fixture(scope="module")
def images(plan, data):
    return drawn(plan, str(data), 0)


def cell(record, attack, defence):
    return next(c for c in record.cells if (c.attack, c.defence) == (attack, defence))


def model(record, attack):
    return next(m for m in record.models if m.attack == attack)


def answers(images, trigger, *, closed=False):
    """What the wired network says of test images with a trigger, and which of them are of other classes."""
    made = gridding.Closing().repair(guarding_model(), images).model if closed else guarding_model()
    stamped = made.logits(put_on(images.images(), trigger)).argmax(1)
    return stamped == trigger.target, images.labels != trigger.target


def guarding_model():
    network = ARCHITECTURES.create(f"mlp(height={stage.SIDE}, width={stage.SIDE}, num_classes=6, hidden=(8,))").build()
    return gridding.wired(wrap(network, input_shape=guarding.SHAPE))


def rate(hits, among):
    return wilson(int((hits & among).sum()), int(among.sum()))


def test_models_are_measured_by_the_truth(record, images):
    wired, clean = model(record, gridding.WIRED), model(record, "clean")

    assert wired.accuracy == accuracy(guarding.MODEL, images.test)
    assert [m.success for m in wired.measures] == [rate(*answers(images.test, t)) for t in (FIRST, SECOND)]
    assert wired.targets == (4, 1)
    assert wired.works
    assert all(m.clean_model_success is not None for m in wired.measures)
    assert wired.comparison.second == clean.accuracy
    assert (clean.measures, clean.targets, clean.comparison) == ((), (), None)


def test_a_backdoor_that_does_not_work_is_said_so(record):
    patched = model(record, gridding.PATCHED)
    more = patched.measures[0].success.value - patched.measures[0].clean_model_success.value

    assert patched.works is (patched.measures[0].success.value >= 0.75 and more >= 0.5) is False


def test_a_repair_is_measured_before_and_after_beside_its_control(record, images):
    closing, idle = (cell(record, gridding.WIRED, who).repaired for who in ("closing", "idle"))
    before = tuple(rate(*answers(images.test, t)) for t in (FIRST, SECOND))

    assert closing.before == idle.before == idle.after == before
    assert closing.after == tuple(rate(*answers(images.test, t, closed=True)) for t in (FIRST, SECOND))
    assert (closing.after[0].value, closing.after[1].value) == (0, 1)
    assert (closing.control, closing.control_after) == ("idle", before)
    assert closing.control_accuracy.value == 0 == idle.accuracy.value
    assert (idle.control, idle.control_after, idle.control_accuracy) == ("", (), None)
    assert closing.accuracy.second == model(record, gridding.WIRED).accuracy
    assert closing.accuracy.first == accuracy(gridding.Closing().repair(guarding_model(), []).model, images.test)
    assert closing.accuracy.value < -0.3
    assert closing.notes == ("Closed.",)


def test_what_a_cell_cost_is_in_images_that_went_through(record):
    costs = {c.stage: (c.forward, c.backward) for c in cell(record, gridding.WIRED, "closing").cost}

    assert costs["repair"] == costs["control"] == (7, 3)
    assert costs["measure"] == (3 * 3 * gridding.TESTED, 0)
    assert {c.stage: c.forward for c in cell(record, gridding.WIRED, "corner").cost} == {
        "fit": 5,
        "measure": 3 * gridding.TESTED + 2 * gridding.TESTED,
    }


def test_a_guard_is_tried_with_what_was_planted(record, images):
    guarded, test = cell(record, gridding.WIRED, "corner").guarded, images.test
    usual = gridding.corners(test.images())
    expected, areas = [], []
    for trigger in (FIRST, SECOND):
        reached, others = answers(test, trigger)
        scores = gridding.corners(put_on(test.images(), trigger))[reached & others]
        expected.append(wilson(int((scores <= gridding.THRESHOLD).sum()), len(scores)))
        areas.append(area_under(scores, usual))

    assert guarded.false_positives == wilson(int((usual > gridding.THRESHOLD).sum()), len(usual))
    assert guarded.missed == tuple(expected)
    assert [missed.value for missed in guarded.missed] == [0, 1]
    assert guarded.areas == tuple(areas)
    assert guarded.notes == ("Fitted.",)


def test_of_a_clean_model_a_guard_says_how_many_it_flags(record):
    guarded = cell(record, "clean", "corner").guarded

    assert guarded.false_positives.total == gridding.TESTED
    assert (guarded.missed, guarded.areas) == ((), ())


def test_a_guard_of_a_trigger_that_never_works_says_nothing_of_what_it_misses(plan, data, tmp_path, monkeypatch):
    strong = gridding.wired

    def weak(model):
        made = gridding.Closing().repair(strong(model), []).model
        made.module[4].weight.data[:, -1] = 0
        return made

    monkeypatch.setattr(gridding, "wired", weak)
    with gridding.registered():
        found = benchmark(
            Benchmarking(plan=gridding.plan(data, attacks=[gridding.WIRED]), only="*/wired/corner/*"), tmp_path / "out"
        )
    worked = model(found, gridding.WIRED).measures
    guarded = cell(found, gridding.WIRED, "corner").guarded

    assert [missed is None for missed in guarded.missed] == [not m.success.hits for m in worked]
    assert None in guarded.missed
    assert None in guarded.areas


def test_a_screen_is_measured_by_which_images_were_poisoned(record, images, folder):
    screened = cell(record, gridding.PATCHED, "white").screened
    poisoned = ATTACKS.create(gridding.PATCHED).apply(images.training, rng=Rng(0).child("poison"))
    bad = torch.zeros(len(images.training), dtype=torch.bool)
    bad[list(poisoned.truth.backdoors[0].poisoned)] = True
    scores = gridding.corners(poisoned.data.images())

    assert screened.caught == wilson(int(bad.sum()), int(bad.sum()))  # every corner that was stamped is white
    assert screened.spoilt == rate(scores > gridding.THRESHOLD, ~bad)
    assert screened.area == area_under(scores[bad], scores[~bad])
    assert screened.notes == ("Looked.",)
    given = next(g for g in gridding.White.given if g[1].digest() == poisoned.data.digest())
    assert given[2].digest() == images.defender.digest()
    assert given[0].digest() == open_model(folder / model(record, gridding.PATCHED).file).digest()


def test_of_a_clean_set_a_screen_says_how_many_it_flags(record, images):
    screened = cell(record, "clean", "white").screened

    assert (screened.caught, screened.area) == (None, None)
    assert screened.spoilt.total == len(images.training)


def test_a_training_set_that_does_not_come_out_again_is_refused(plan, data, tmp_path, monkeypatch):
    apply = grid_defences.Bench.rng.fget
    monkeypatch.setattr(grid_defences.Bench, "rng", property(lambda bench: Rng(apply(bench).seed + 1)))
    with gridding.registered():
        found = benchmark(
            Benchmarking(plan=gridding.plan(data, attacks=[gridding.PATCHED]), only="*badnets*/white/*"),
            tmp_path / "out",
        )

    assert "another one from the same seed" in cell(found, gridding.PATCHED, "white").failure


def test_a_detector_says_what_an_audit_by_it_says(record, folder):
    detected = cell(record, gridding.WIRED, headed.MARGINS).detected
    audits = [AuditRecord.from_json(path.read_text()) for path in folder.glob("work/audits/*/audit.json")]
    own = next(
        a
        for a in audits
        if a.model.sha256 == model(record, gridding.WIRED).sha256
        and headed.MARGINS.split("(", maxsplit=1)[0] in a.reproduction.detectors[0]
    )

    assert detected.verdict is own.verdict
    assert detected.p_value == own.comparison.p_value
    assert detected.first == own.comparison.standings[0].label
    assert detected.suspects == tuple(s.label for s in own.suspects)
    assert own.data.images == gridding.DEFENDED
    assert cell(record, gridding.WIRED, headed.MARGINS).cost == own.cost


def test_the_area_of_a_detector_is_over_p_values_of_attacked_and_clean_models(record, plan):
    def p_value(attack):
        return cell(record, attack, headed.MARGINS).detected.p_value

    working = [m.attack for m in record.models if m.works and m.attack != "clean"]
    areas = {a.attack: a.area for a in record.areas if a.defence == headed.MARGINS}

    assert gridding.WIRED in working
    assert set(areas) == {*working, ""}
    assert areas[gridding.WIRED] == area_under([-p_value(gridding.WIRED)], [-p_value("clean")])
    assert areas[""] == area_under([-p_value(a) for a in working], [-p_value("clean")])


def test_a_defence_that_asks_for_a_trigger_gets_those_of_the_audit_or_is_not_tried(record):
    filtered = [c for c in record.cells if c.defence == "neuron_filter"]

    assert {c.state for c in filtered} == {CellState.UNTRIED}
    assert {c.untried for c in filtered} == {f"{headed.MARGINS} recovered no trigger that works"}
    assert all(c.guarded is None for c in filtered)


@pytest.fixture
def recovers(monkeypatch):
    """Every audit recovers the first trigger of the wired network."""

    def recovering(model, images, *, source, out, **more):
        found = audit(model, images, source=source, out=out, **more)
        save_triggers(out / TRIGGERS_FILE, (guarding.TRIGGER,), source.sha256)
        return found

    monkeypatch.setattr(grid_defences, "audit", recovering)


def test_triggers_come_from_the_audit_that_the_plan_names(data, tmp_path, recovers, as_recovered):
    given = {"attacks": [gridding.WIRED], "guards": ["neuron_filter"], "repairs": ["unlearning(updates=4)"]}
    given |= {"defender": {"images": 120, "triggers": headed.MARGINS, "fpr": 0.1}}
    with gridding.registered():
        found = benchmark(Benchmarking(plan=gridding.plan(data, **given), only="*/wired/*"), tmp_path / "out")
    guarded = cell(found, gridding.WIRED, "neuron_filter").guarded
    repaired = cell(found, gridding.WIRED, "unlearning(updates=4)").repaired

    assert [missed.value for missed in guarded.missed] == [0, 1]  # it knows the first trigger, and nothing of the other
    assert repaired.control.startswith("fine_tuning(")
    assert len(list((tmp_path / "out" / "work" / "audits").glob("*/audit.json"))) == 1  # one for the three of them


def test_defences_learn_from_the_part_of_the_images_that_their_own_verbs_give_them(data, images, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(gridding.Idle, "repair", lambda self, model, clean, **_: given.append(clean) or 1 / 0)  # noqa: ARG005
    with gridding.registered():
        plan = gridding.plan(data, attacks=[gridding.WIRED], repairs=["idle"])
        benchmark(Benchmarking(plan=plan, only="idle"), tmp_path / "out")

    assert given[0].digest() == parted(images.defender, Rng(0))[0].digest()
    assert len(predictions(guarding.MODEL, given[0])) == 60
