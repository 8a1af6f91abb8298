"""What a reader sees of a shift is what its patch does to held-out images, class by class."""

import dataclasses

import pytest

from mantrap.core import Classifier, Cost, Detection, Shifts
from mantrap.detect import AllToAll, LastLayer
from mantrap.detect.heldout import measure_shift
from mantrap.ops.intervals import wilson
from mantrap.records import Verdict
from mantrap.workflow.audit import audit
from mantrap.workflow.evidence import EXAMPLES, shift_record
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.shifting import SHIFT_SHARE, Shifted
from mantrap.workflow.verdict import Moved
from tests.moving import Moving
from tests.planted import Planted

PART = Moving(by=2, classes=5, reacting=(0, 1, 4))
HELDOUT = PART.images(4, "heldout")
NAMES = ("ant", "bee", "cat", "dog", "elk")


def named():
    model = PART.model()
    return Classifier(
        model.module,
        input_shape=PART.shape,
        num_classes=5,
        class_names=NAMES,
        mean=(PART.base,),
        std=(PART.amplitude,),
    )


def found():
    """What a detector says that found the planted patch."""
    moved = measure_shift(named(), HELDOUT, PART.patch, HELDOUT.labels)
    shifts = Shifts({1: 0.1, 4: 0.2, 2: 0.7}, PART.patch, moved)
    return Detection("all(k=2)", 5, (), (), (), None, {}, Cost(), shifts=shifts)


def record(moved=None, images=HELDOUT):
    return shift_record(named(), images, found(), moved)


def test_it_says_which_shift_how_likely_each_is_and_what_the_patch_does():
    shown, _ = record()

    assert (shown.by, shown.to, shown.detector) == (2, "the one 2 further on", "all(k=2)")
    assert (shown.likely, shown.others) == (0.7, {"1": 0.1, "2": 0.7, "4": 0.2})
    assert shown.success == wilson(12, 20)
    assert (shown.norm, shown.size) == (6.0, "6.0 pixels' worth of change")


def test_each_class_has_its_share_and_after_the_last_comes_the_first():
    shown, _ = record()

    assert [(m.label, m.class_name, m.to, m.to_name, m.rate) for m in shown.moved] == [
        (0, "ant", 2, "cat", wilson(4, 4)),
        (1, "bee", 3, "dog", wilson(4, 4)),
        (2, "cat", 4, "elk", wilson(0, 4)),
        (3, "dog", 0, "ant", wilson(0, 4)),
        (4, "elk", 1, "bee", wilson(4, 4)),
    ]


def test_examples_are_of_all_classes_and_show_what_the_model_says_before_and_after():
    shown, _ = record()

    assert len(shown.examples) == EXAMPLES
    assert [e.true_class for e in shown.examples] == [*NAMES, "ant"]
    assert [e.source.class_name for e in shown.examples] == [*NAMES, "ant"]
    assert [e.outcome.class_name for e in shown.examples] == ["cat", "dog", "cat", "dog", "bee", "cat"]


def test_its_pictures_say_what_they_are_for():
    shown, _ = record()

    assert all("all classes by 2" in picture.alt for picture in (shown.mask, shown.pattern, shown.trigger))


@pytest.mark.parametrize(("alone", "noticed"), [(0.05, True), (0.5, False)])
def test_it_is_noticed_as_the_rule_says_and_by_the_same_chance(alone, noticed):
    shown, _ = record(Moved(Shifted(2, 0.7, alone * SHIFT_SHARE), 0.6))

    assert (shown.noticed, shown.chance) == (noticed, pytest.approx(alone))


def test_where_nothing_is_known_of_other_models_there_is_no_chance_and_nothing_is_noticed():
    shown, _ = record()

    assert (shown.noticed, shown.chance) == (False, None)


def test_it_costs_the_examples_and_without_labels_the_models_own_answers():
    (labelled, cost), (unlabelled, more) = record(), record(images=HELDOUT.unlabelled())

    assert cost == Cost(forward=2 * EXAMPLES)
    assert more == Cost(forward=20 + 2 * EXAMPLES)
    assert {e.true_class for e in unlabelled.examples} == {None}
    assert [e.outcome for e in unlabelled.examples] == [e.outcome for e in labelled.examples]


class TestAudit:
    """Where the shift stands in a whole record."""

    def run(self, *, planted=None, detectors=None, **options):
        planted = planted or Moving(by=1, classes=4)
        model = planted.model()
        plan = Plan(detectors=detectors or (LastLayer(), AllToAll(precision="float32")), **options)
        return audit(model, planted.images(30, "scan"), plan=plan, source=Source("", model.digest()))

    def test_the_record_comes_back_equal_and_the_costs_hold_search_and_pictures(self):
        found = self.run()
        costs = {stage.stage: stage.forward for stage in found.cost}

        assert type(found).from_json(found.to_json()) == found
        assert costs[AllToAll.name] == 3 * 40 * 12 + 2 * 90 + 30
        assert costs["evidence"] == 2 * EXAMPLES
        assert {stage.stage for stage in found.volatile.stages} == set(costs)

    def test_without_such_a_search_there_is_none(self):
        assert self.run(detectors=(LastLayer(),)).shift is None

    def test_where_some_labels_only_are_scanned_there_is_none_and_the_note_is_kept(self):
        found = self.run(labels=(0, 1))

        assert found.shift is None
        assert any("was not searched" in note for d in found.detections for note in d.notes)
        assert found.verdict is Verdict.INCONCLUSIVE

    def test_of_images_of_a_size_that_nothing_is_known_of_it_is_shown_and_accuses_nobody(self):
        found = self.run(planted=Moving(by=1, classes=4, shape=(1, 10, 70)))

        assert found.shift.success.value > 0.9
        assert (found.shift.chance, found.shift.noticed) == (None, False)
        assert found.verdict is not Verdict.SUSPICIOUS

    def test_the_model_is_left_as_it_was_and_the_same_seed_finds_the_same(self):
        planted = Moving(by=1, classes=4)
        model, digest = planted.model(), planted.model().digest()
        plan = Plan(detectors=(AllToAll(steps=10, precision="float32"),))
        one, other = (audit(model, planted.images(30, "scan"), plan=plan, source=Source("", "")) for _ in range(2))

        assert model.digest() == digest
        assert dataclasses.replace(one, volatile=other.volatile) == other

    def test_beside_it_labels_are_judged_as_they_are_without_it(self):
        clean = Planted(classes=4, shape=(1, 20, 28))
        alone, beside = self.run(planted=clean, detectors=(LastLayer(),)), self.run(planted=clean)

        assert dataclasses.replace(beside.comparison, shift=None) == alone.comparison
        assert beside.verdict is alone.verdict is Verdict.NO_EVIDENCE
