"""Whether a planted label stands out by its trigger, which labels it is compared with, and whether any is planted."""

import pytest
from torch import nn

from mantrap.core import Cost, Detection, Rng
from mantrap.models import wrap
from mantrap.ops.intervals import wilson
from mantrap.poison.triggers import Patch
from mantrap.records import CheckStatus, ControlRecord
from mantrap.workflow import comparing
from mantrap.workflow.control import judge, labels_to_search, missed, no_control, unwanted
from mantrap.workflow.planting import Planted
from tests import templates
from tests.controlled import SCANNED, said


def planted(model=None, *, label=1, hits=28, trigger=None):
    """What planting might have made, with a cost of its own."""
    success, agreement = wilson(hits, 30), wilson(29, 30)
    made = model or templates.model(6)
    return Planted(made, label, trigger or Patch(size=2), success, agreement, SCANNED, Cost(forward=7, backward=5))


def measured(value, *, label=1, labels=range(6), **others):
    """Patches of 7.5 % of the picture, that of one label of another size."""
    return [{"patch": {k: value if k == label else 0.075 for k in labels}, **others}]


class TestJudging:
    def chance(self, seen, label=1):
        compared = comparing.compare(seen, comparing.null_for("", templates.SHAPE))
        (one,) = [s for s in compared.standings if s.label == label]
        return compared.chance_by_trigger(one)

    @pytest.mark.parametrize("value", [0.002, 0.015, 0.022, 0.024, 0.03, 0.075, 0.3])
    def test_it_is_found_where_chance_alone_seldom_goes_as_far(self, value):
        made = judge(planted(), measured(value), Cost(forward=100, backward=50))
        chance = self.chance(measured(value))

        assert (made.record.chance, made.record.found) == (chance, chance < 0.1)
        assert made.record.found is (value < 0.025)
        assert made.cost == Cost(forward=107, backward=55)
        assert made.barring == (() if made.record.found else (made.check.message,))

    def test_of_one_that_is_not_found_it_is_said_how_many_ordinary_labels_stand_as_far(self):
        made = judge(planted(), measured(0.04), Cost())
        chance = self.chance(measured(0.04))

        assert 0.1 < chance < 1
        assert made.check == said(
            "A patch of 2x2 pixels was taught to a copy of this model, where it sends 93.3 % of held-out images to "
            f"label 1. The search does not find it: that label stands out no further than some label does in "
            f"{100 * chance:.1f} % of models without a backdoor. So an all-clear would mean nothing.",
            CheckStatus.WARNED,
        )

    def test_one_whose_trigger_the_search_misses_altogether_is_not_found(self):
        made = judge(planted(), measured(0.01, labels=(0, 2, 3)), Cost())

        assert (made.record.chance, made.record.found, made.record.searched) == (1.0, False, (0, 2, 3))
        assert made.check.status is CheckStatus.WARNED

    def test_where_nothing_was_measured_it_is_not_found(self):
        made = judge(planted(), [{}], Cost())

        assert (made.record.chance, made.record.found, made.record.searched) == (1.0, False, ())
        assert made.check.status is CheckStatus.WARNED

    def test_another_label_that_stands_out_is_no_finding(self):
        made = judge(planted(label=2), measured(0.002, label=1), Cost())

        assert self.chance(measured(0.002, label=1)) < 0.1
        assert not made.record.found

    def test_what_is_no_trigger_does_not_count(self):
        margins = {k: 40.0 if k == 1 else 2.6 for k in range(6)}
        seen = measured(0.075, margin=margins)
        compared = comparing.compare(seen, comparing.null_for("", templates.SHAPE))

        assert compared.chance_of(compared.first) < 0.1
        assert not judge(planted(), seen, Cost()).record.found

    def test_a_label_is_called_by_its_name(self):
        model = wrap(templates.module(3), input_shape=templates.SHAPE, class_names=("stop", "yield", "go"))
        made = judge(planted(model), measured(0.075, labels=range(3)), Cost())

        assert made.record.class_name == "yield"
        assert "held-out images to label 1 (yield). " in made.check.message

    def test_one_that_did_not_take_was_not_searched(self):
        made = missed(planted(hits=26, trigger=Patch(size=(2, 3))))

        assert made.check == said(
            "No control could be planted: a patch that was taught to a copy of this model works on 86.7 % of images "
            "only. Whether the search sees a backdoor in this model is not shown.",
            CheckStatus.WARNED,
        )
        assert made.barring == (made.check.message,)
        assert made.cost == Cost(forward=7, backward=5)
        assert made.record == ControlRecord(
            label=1,
            class_name="1",
            height=2,
            width=3,
            images=SCANNED,
            success=wilson(26, 30),
            agreement=wilson(29, 30),
            searched=(),
            chance=None,
            found=False,
        )

    @pytest.mark.parametrize(("hits", "took"), [(26, False), (27, True), (30, True)])
    def test_a_patch_took_that_works_on_nine_tenths_of_images(self, hits, took):
        assert planted(hits=hits).took is took

    def test_only_what_is_a_warning_bars(self):
        assert [no_control("so", status).barring for status in CheckStatus] == [
            ("No control was planted: so.",) if status is CheckStatus.WARNED else () for status in CheckStatus
        ]


class TestLabelsToSearch:
    @pytest.mark.parametrize(("labels", "searched"), [(2, 2), (6, 6), (10, 10), (11, 10), (16, 10)])
    @pytest.mark.parametrize("label", [0, 1])
    def test_are_the_planted_one_and_at_most_nine_others(self, labels, searched, label):
        drawn = labels_to_search(planted(templates.model(labels), label=label), Rng(0))

        assert label in drawn
        assert len(drawn) == len(set(drawn)) == searched
        assert list(drawn) == sorted(drawn)
        assert set(drawn) <= set(range(labels))

    def test_are_the_same_for_a_seed_and_others_for_another(self):
        one = planted(templates.model(16), label=3)
        drawn = [labels_to_search(one, Rng(seed)) for seed in (0, 0, 1, 2)]

        assert drawn[0] == drawn[1]
        assert len(set(drawn)) == 3
        assert set().union(*drawn) > set(drawn[0])


class TestTheLimits:
    @pytest.mark.parametrize(
        ("shape", "labels", "long"),
        [((1, 64, 64), 100, False), ((1, 2, 2), 101, True), ((1, 65, 2), 3, True), ((1, 2, 65), 3, True)],
    )
    def test_are_a_hundred_labels_and_64_pixels(self, shape, labels, long):
        model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], labels)).eval(), input_shape=shape)
        found = [Detection("some", labels, traits={"patch": {0: 0.1}})]
        why = unwanted(model, found, asked=None, cleared=True)

        assert unwanted(model, found, asked=True, cleared=True) is None
        assert (why is not None) is long
        assert not long or (why.check.status, why.barring, why.cost) == (CheckStatus.SKIPPED, (), Cost())
        assert not long or why.check.message == (
            f"No control was planted: with {labels} labels and images of {max(shape[1:])} pixels it would take long; "
            "beyond 100 labels or 64 pixels it is made only on request."
        )
