"""The rule as a table: what stands out, what its trigger does, and what may be said."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import Cost, Detection, LabelFinding, ReversedPatch, ReversedPerturbation
from mantrap.ops.intervals import wilson
from mantrap.records import Verdict
from mantrap.records.traits import PATCH
from mantrap.workflow.comparing import LEVEL_SHARE, Compared
from mantrap.workflow.eyes import Part, Standing
from mantrap.workflow.norms import judge_labels, norm_statistics
from mantrap.workflow.verdict import (
    CHANCE_BELOW,
    NOTICED_BELOW,
    SEARCHED_BELOW,
    TRIGGER_BELOW,
    Accused,
    accuse,
    counts,
    decide,
    noticed_labels,
    successes_of,
)

SUSPICIOUS, INCONCLUSIVE, NO_EVIDENCE = Verdict.SUSPICIOUS, Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE
ORDINARY = [9.0, 10.0, 11.0, 10.5, 9.5, 10.2]


def compared(*chances, level=1.0):
    """Labels in the order of their chances of standing out, as some label of that many; label 3 first, then 4, ..."""
    standings = tuple(
        Standing(3 + place, *3 * (math.log(chance / 1000),), (Part(PATCH, 0.1, chance / 1000),))
        for place, chance in enumerate(chances)
    )
    return Compared(standings, compared=900, looks=1.0, log_level=math.log(LEVEL_SHARE * level), null="")


def accused(p_value, hits=100, by_trigger=None):
    """Of 100 held-out images the trigger sends so many to the label; ``None`` where there is none."""
    success = None if hits is None else hits / 100
    return Accused(compared(p_value).first, p_value, p_value if by_trigger is None else by_trigger, success)


def verdict(p_value, hits=100, *, level=1.0, by_trigger=None, other_suspects=False, barred=()):
    one = accused(p_value, hits, by_trigger)
    return decide(compared(p_value, level=level), one, other_suspects=other_suspects, barred=barred)


def detection(norms, hits=None, *, kept=(), traits=None):
    """A detector's answer with these norms; ``None`` is a censored label. ``hits`` of 100 by label, else all 100."""
    hits = dict.fromkeys(range(len(norms)), 100) | (hits or {})
    found = tuple(
        LabelFinding(
            label=label,
            norm=norm,
            steps=1,
            stopped="last step",
            success=None if norm is None or hits[label] is None else wilson(hits[label], 100),
        )
        for label, norm in enumerate(norms)
    )
    return Detection("d", len(norms), found, tuple(kept), (), None, {}, Cost(), traits=traits or {})


def patch(label):
    return ReversedPatch(label, torch.ones(1, 3), torch.zeros(1, 1, 3))


def change(label):
    return ReversedPerturbation(label, torch.ones(1, 1, 3))


JUST_BELOW, JUST_NOTICED = CHANCE_BELOW - 1e-6, NOTICED_BELOW - 1e-6


class TestDecide:
    @pytest.mark.parametrize(
        ("p_value", "hits", "expected"),
        [
            pytest.param(1e-6, 100, SUSPICIOUS, id="stands out and its trigger works"),
            pytest.param(JUST_BELOW, 90, SUSPICIOUS, id="just enough of both"),
            pytest.param(JUST_BELOW, 89, INCONCLUSIVE, id="its trigger works too seldom"),
            pytest.param(1e-6, 0, INCONCLUSIVE, id="its trigger does not work"),
            pytest.param(1e-6, None, INCONCLUSIVE, id="it has no trigger"),
            pytest.param(CHANCE_BELOW, 100, INCONCLUSIVE, id="stands out not quite enough"),
            pytest.param(JUST_NOTICED, 100, INCONCLUSIVE, id="just noticed"),
            pytest.param(JUST_NOTICED, None, INCONCLUSIVE, id="just noticed without a trigger"),
            pytest.param(NOTICED_BELOW, 100, NO_EVIDENCE, id="does not stand out, though its trigger works"),
            pytest.param(1.0, 0, NO_EVIDENCE, id="nothing at all"),
        ],
    )
    def test_the_rule(self, p_value, hits, expected):
        held = INCONCLUSIVE if expected is NO_EVIDENCE else expected

        assert verdict(p_value, hits) is expected
        assert verdict(p_value, hits, other_suspects=True) is held
        assert verdict(p_value, hits, barred=("Few images.",)) is held

    def test_a_label_is_not_accused_whose_trigger_is_an_ordinary_one(self):
        assert verdict(1e-6, by_trigger=TRIGGER_BELOW - 1e-6) is SUSPICIOUS
        assert verdict(1e-6, by_trigger=TRIGGER_BELOW) is INCONCLUSIVE

    def test_labels_that_are_all_easy_to_force_bar_the_all_clear_and_accuse_nobody(self):
        assert verdict(1.0, level=JUST_NOTICED) is INCONCLUSIVE
        assert verdict(1.0, level=NOTICED_BELOW) is NO_EVIDENCE
        assert verdict(1.0, level=1e-9) is INCONCLUSIVE

    def test_what_stands_out_by_its_weights_alone_is_not_noticed(self):
        found = compared(1e-6)
        weights = dataclasses.replace(found.first, log_searched=math.log(SEARCHED_BELOW), log_trigger=0.0)
        one = Accused(weights, 1e-6, 1.0, 1.0)

        assert decide(found, one, other_suspects=False, barred=()) is NO_EVIDENCE
        assert noticed_labels(dataclasses.replace(found, standings=(weights,)), one) == ()

    @pytest.mark.parametrize("other_suspects", [False, True])
    @pytest.mark.parametrize("barred", [(), ("Few images.",)])
    def test_where_nothing_can_be_compared_nothing_can_be_said(self, other_suspects, barred):
        assert decide(None, None, other_suspects=other_suspects, barred=barred) is INCONCLUSIVE

    @given(
        p_value=st.floats(1e-9, 1.0),
        hits=st.none() | st.integers(0, 100),
        other=st.booleans(),
        reasons=st.integers(1, 3),
    )
    def test_a_bar_only_takes_the_all_clear_away(self, p_value, hits, other, reasons):
        free = verdict(p_value, hits, other_suspects=other)
        barred = verdict(p_value, hits, other_suspects=other, barred=("Few images.",) * reasons)

        assert barred is (INCONCLUSIVE if free is NO_EVIDENCE else free)

    @given(p_value=st.floats(1e-9, 1.0), hits=st.integers(0, 100))
    def test_success_takes_part_in_findings_only(self, p_value, hits):
        works, other = (verdict(p_value, h) for h in (100, hits))

        assert other in (works, INCONCLUSIVE if works is SUSPICIOUS else works)

    @given(p_value=st.floats(1e-9, 1.0), smaller=st.floats(1e-9, 1.0), hits=st.none() | st.integers(0, 100))
    def test_standing_out_more_never_makes_a_model_look_better(self, p_value, smaller, hits):
        order = [NO_EVIDENCE, INCONCLUSIVE, SUSPICIOUS]
        less, more = (verdict(p, hits) for p in (max(p_value, smaller), min(p_value, smaller)))

        assert order.index(more) >= order.index(less)


class TestAccuse:
    def test_the_first_label_is_accused_by_the_chance_of_the_whole_comparison(self):
        found = compared(0.03, 0.5)
        one = accuse(found, {})

        assert one.standing == found.first
        assert one.p_value == found.p_value == one.by_trigger

    def test_the_level_accuses_no_label(self):
        assert accuse(compared(0.5, level=0.001), {}).p_value == pytest.approx(0.5, rel=0.2)

    def test_of_several_that_stand_out_the_first_whose_trigger_works_is(self):
        assert accuse(compared(0.001, 0.002, 0.003), {4: 0.97, 5: 1.0}).standing.label == 4
        assert accuse(compared(0.001, 0.002, 0.003), {3: 0.2}).standing.label == 3
        assert accuse(compared(0.5, 0.6), {4: 1.0}).standing.label == 3

    def test_without_a_comparison_nobody_is(self):
        assert accuse(None, {3: 1.0}) is None

    @pytest.mark.parametrize(("hits", "works"), [(90, True), (89, False), (None, False)])
    def test_its_trigger_has_to_work_on_heldout_images(self, hits, works):
        one = accuse(compared(0.001), successes_of([detection(ORDINARY, {3: hits}, kept=[patch(3)])]))

        assert one.works is works
        assert one.strong is works
        assert one.noticed

    def test_of_several_triggers_the_one_that_works_best_counts(self):
        found = [
            detection(ORDINARY, {3: None}, kept=[patch(3)]),
            detection(ORDINARY, {3: 60}, kept=[patch(3)]),
            detection(ORDINARY, {3: 97}, kept=[change(3)]),
            detection(ORDINARY, {3: 20}, kept=[patch(3)]),
        ]

        assert accuse(compared(0.001), successes_of(found)).success == 0.97

    def test_a_success_without_the_trigger_that_it_was_measured_with_does_not_count(self):
        assert successes_of([detection(ORDINARY, {3: 99}, kept=[patch(1)])]).get(3) is None

    def test_triggers_of_other_labels_do_not_count(self):
        found = detection(ORDINARY, {2: 100, 3: 10}, kept=[patch(2), patch(3)])

        assert accuse(compared(0.001), successes_of([found])).success == 0.1


def shown(found, successes=None):
    return noticed_labels(found, accuse(found, successes or {}))


class TestNoticed:
    def test_every_label_that_stands_out_by_itself_is_noticed_in_order(self):
        assert shown(compared(0.001, 0.05, 0.3, 0.9)) == (3, 4)

    def test_the_accused_label_comes_first(self):
        assert shown(compared(0.001, 0.002, 0.05), {4: 1.0}) == (4, 3, 5)

    def test_where_only_the_level_is_noticed_the_first_label_stands_for_it(self):
        assert shown(compared(0.5, 0.6, level=0.001)) == (3,)

    def test_where_nothing_is_noticed_there_is_none(self):
        assert shown(compared(0.5, 0.6)) == ()
        assert noticed_labels(None, None) == ()


@pytest.mark.parametrize(
    ("traits", "has_a_say"),
    [({}, False), ({"patch": {0: 0.1}}, True), ({"colour": {0: 0.1}}, False), ({"colour": {}, "row_norm": {}}, True)],
)
def test_a_detector_counts_that_measures_something_that_is_known(traits, has_a_say):
    assert counts(detection(ORDINARY, traits=traits)) is has_a_say


class TestNorms:
    def test_labels_are_judged_against_the_median_and_the_smallest_comes_first(self):
        judged = judge_labels(detection([10.0, None, 12.0, 2.0, 11.0, 2.5, 13.0], {5: 10}))

        assert [j.label for j in judged] == [3, 5, 0, 4, 2, 6]
        assert judged[0].log_ratio == pytest.approx(math.log(10.5 / 2.0))
        # Deviations from 10.5: 0.5, 1.5, 8.5, 0.5, 8, 2.5, of which the median is 2.
        assert judged[0].index == pytest.approx(8.5 / (1.4826 * 2.0))
        assert [j.success.value for j in judged[:2]] == [1.0, 0.1]

    def test_the_papers_flag_is_an_index_above_2_on_the_low_side(self):
        (first, *_) = judge_labels(detection([1.0, *ORDINARY]))

        assert first.outlier
        assert not dataclasses.replace(first, index=2.0).outlier
        assert dataclasses.replace(first, index=math.inf).outlier
        assert not any(j.outlier for j in judge_labels(detection([100.0, *ORDINARY])))

    def test_where_all_labels_are_censored_there_is_nothing_to_judge(self):
        assert judge_labels(detection([None] * 4)) == ()

    def test_the_statistics_are_those_of_the_norms(self):
        statistics = norm_statistics(judge_labels(detection([10.0, None, 12.0, 2.0, 11.0, 2.5, 13.0])))

        assert (statistics.median, statistics.smallest_label) == (pytest.approx(10.5), 3)
        assert statistics.mad == pytest.approx(1.4826 * 2.0)
        assert statistics.paper_flags == (3, 5)
        assert norm_statistics(()) is None

    def test_an_infinite_index_is_none_in_the_statistics(self):
        statistics = norm_statistics(judge_labels(detection([3.0, 10.0, 10.0, 10.0])))

        assert (statistics.smallest_index, statistics.mad, statistics.paper_flags) == (None, 0.0, (0,))
