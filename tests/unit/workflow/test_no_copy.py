"""Whether a copy of the model is retrained, and what is said where none is."""

import math

import pytest
from torch import nn

from mantrap.core import Detection, Pairs
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS
from mantrap.detect.nulls import known_coverage
from mantrap.models import wrap
from mantrap.records import CheckRecord, CheckStatus
from mantrap.workflow import retraining
from mantrap.workflow.assembly import coverage_record
from mantrap.workflow.comparing import compare, null_for
from mantrap.workflow.plan import Plan
from mantrap.workflow.retraining import CLOSER_BELOW, told_by_search, unwanted
from mantrap.workflow.verdict import NOTICED_BELOW, RULE
from tests import headed, stage


def measured(*traits, last=0.1):
    """What a detector says of six labels that all look alike by some traits, but for the last."""
    return Detection("some", 6, traits={name: dict.fromkeys(range(5), 0.1) | {5: last} for name in traits})


def standing_out():
    """What a detector says where the last label needs a hundredth of the patch that others need."""
    return measured("patch", last=0.001)


SCAN = stage.image_set(90)
UNTROUBLED, MISSED = CheckStatus.PASSED, CheckStatus.SKIPPED


class TestNoCopy:
    """Whether none is made because nobody needs one, or because it cannot be."""

    def why(self, model=None, scan=SCAN, detections=None, *, asked=None):
        copied = unwanted(model or headed.model(), scan, detections or [standing_out()], asked=asked)
        if copied is None:
            return None
        assert copied == retraining.Copied(copied.check)
        assert copied.check.name == "copy"
        return copied.check.status, copied.check.message.removeprefix("No copy was retrained: ").removesuffix(".")

    def wide(self, classes, shape=(1, 16, 16)):
        network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
        return wrap(network, input_shape=shape)

    def test_is_no_question_where_a_label_stands_out(self):
        assert self.why() is self.why(asked=True) is None

    def test_is_made_where_nobody_wants_one(self):
        assert self.why(asked=False) == (UNTROUBLED, "nobody wants one")

    def test_is_made_of_too_few_images(self):
        few = MISSED, "64 images are needed, and there are 63 to search with"

        assert self.why(scan=stage.image_set(63)) == self.why(scan=stage.image_set(63), asked=True) == few
        assert self.why(scan=stage.image_set(64)) is None

    @pytest.mark.parametrize("asked", [None, True])
    def test_is_made_of_a_network_without_a_last_linear_layer(self, asked):
        end = "the network does not end in a linear layer with an output for each label"

        assert self.why(stage.model(planted=True), asked=asked) == (MISSED, end)

    @pytest.mark.parametrize("asked", [None, True])
    def test_is_made_where_no_detector_measures_what_it_would_show(self, asked):
        blind = [measured("row_mean", "row_norm"), Detection("own", 6)]

        assert self.why(detections=blind, asked=asked) == (UNTROUBLED, "no detector measures what it shows")
        assert self.why(detections=[*blind, standing_out()], asked=asked) is None

    def test_is_made_unasked_where_no_label_stands_out(self):
        ordinary = [measured("patch")]

        assert self.why(detections=ordinary) == (UNTROUBLED, "no label stands out so far that it matters")
        assert self.why(self.wide(101), detections=ordinary) == self.why(detections=ordinary)
        assert self.why(detections=ordinary, asked=True) is None

    def test_is_made_unasked_where_all_labels_are_alike_easy(self):
        easy = Detection("some", 6, traits={"patch": dict.fromkeys(range(6), 0.028)})
        compared = compare([easy.traits], null_for("", (1, 16, 16)))

        assert compared.p_value == compared.level < CLOSER_BELOW
        assert self.why(detections=[easy]) == (UNTROUBLED, "no label stands out so far that it matters")

    @pytest.mark.parametrize(("classes", "shape"), [(101, (1, 16, 16)), (6, (1, 16, 65)), (6, (3, 65, 16))])
    def test_is_made_unasked_where_it_would_take_long(self, classes, shape):
        model = self.wide(classes, shape)
        side = max(shape[1:])
        long = f"with {classes} labels and images of {side} pixels it would take long; "

        assert self.why(model) == (MISSED, f"{long}beyond 100 labels or 64 pixels it is made only on request")
        assert self.why(model, asked=True) is None

    def test_is_missed_up_to_these_limits(self):
        assert self.why(self.wide(100, (1, 64, 64))) is None

    def test_of_a_label_that_hardly_stands_out_is_made_unasked_from_some_chance_on(self, monkeypatch):
        compared = compare([measured("patch", last=0.06).traits], null_for("", (1, 16, 16)))
        chance = compared.chance_of(compared.first)
        assert 0.1 < chance < 0.9

        for below, there in ((0.99 * chance, False), (1.01 * chance, True)):
            monkeypatch.setattr(retraining, "CLOSER_BELOW", below)
            assert (self.why(detections=[measured("patch", last=0.06)]) is None) is there


@pytest.mark.parametrize(
    ("traits", "told"),
    [((), False), (("row_mean", "row_norm"), False), (("colour",), False), (("row_norm", "margin"), True)],
)
def test_what_a_detector_reads_from_the_last_layer_or_nobody_knows_is_not_told_by_a_copy(traits, told):
    assert told_by_search(measured(*traits)) is told


def test_a_copy_is_made_for_labels_that_are_no_finding_yet():
    assert NOTICED_BELOW < CLOSER_BELOW < 1


@pytest.mark.parametrize(
    ("copy", "status", "known"),
    [
        (None, CheckStatus.PASSED, True),
        (None, CheckStatus.SKIPPED, False),
        (True, CheckStatus.PASSED, False),
        (False, CheckStatus.PASSED, False),
    ],
)
def test_a_record_says_what_audits_find_where_copies_are_made_as_usual(copy, status, known):
    usual = Plan(detectors=tuple(map(DETECTORS.create, DEFAULT_DETECTORS)), copy=copy)
    found = coverage_record(usual, RULE, retraining.Copied(CheckRecord(name="copy", status=status, message="")), ())

    assert (found is not None) is known


PASSED = retraining.Copied(CheckRecord(name="copy", status=CheckStatus.PASSED, message=""))


def scanned(**found):
    return Detection(detector="pair_scan()", num_classes=10, **found)


@pytest.mark.parametrize("budget", [None, 60.0])
@pytest.mark.parametrize("further", [(), ("pair_scan",)])
def test_a_record_says_what_audits_find_whether_pairs_are_scanned_or_not(further, budget):
    plan = Plan(detectors=tuple(map(DETECTORS.create, (*further, *DEFAULT_DETECTORS))), budget=budget)
    alone, paired = (
        coverage_record(plan, RULE, PASSED, (scanned(pairs=pairs),)) for pairs in (None, Pairs({(0, 1): 2.0}, {}))
    )
    known, others = known_coverage(), {entry.family: entry for entry in known_coverage().with_pairs}

    assert set(others) == {"clean", "source_specific"}
    assert alone.families == known.families
    assert paired.families == tuple(others.get(entry.family, entry) for entry in known.families)
    assert (alone.with_pairs, paired.with_pairs) == ((), ())


@pytest.mark.parametrize("named", [DEFAULT_DETECTORS[:-1], (*DEFAULT_DETECTORS, "neural_cleanse_paper")])
def test_of_other_detectors_nobody_knows_what_they_find(named):
    plan = Plan(detectors=tuple(map(DETECTORS.create, named)))

    assert coverage_record(plan, RULE, PASSED, ()) is None


def test_of_audits_that_time_cut_short_nobody_knows_what_they_find():
    plan = Plan(detectors=tuple(map(DETECTORS.create, DEFAULT_DETECTORS)), budget=60.0)

    assert coverage_record(plan, RULE, PASSED, (scanned(missed=1),)) is None
