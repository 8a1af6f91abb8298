"""The provisional rule as a table: what is seen of the labels, and what may be said."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import Cost, Detection, LabelFinding, ReversedTrigger
from mantrap.ops.intervals import wilson
from mantrap.records import Verdict
from mantrap.workflow.verdict import Joint, Judged, decide, join, judge_labels, norm_statistics

SUSPICIOUS, INCONCLUSIVE, NO_EVIDENCE = Verdict.SUSPICIOUS, Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE
ORDINARY = [9.0, 10.0, 11.0, 10.5, 9.5, 10.2]


def detection(norms, hits=None):
    """A detector's answer with these norms; ``None`` is a censored label. ``hits`` of 100 by label, else all 100."""
    found = tuple(
        LabelFinding(
            label=label,
            norm=norm,
            steps=1,
            stopped="last step",
            success=None if norm is None or (hits or {}).get(label, 100) is None else success(label, hits),
        )
        for label, norm in enumerate(norms)
    )
    return Detection("d", len(norms), found, (), (), None, {}, Cost())


def success(label, hits):
    return wilson((hits or {}).get(label, 100), 100)


def verdict(norms, hits=None, *, other_suspects=False, barred=()):
    return decide([judge_labels(detection(norms, hits))], other_suspects=other_suspects, barred=barred)


@pytest.mark.parametrize(
    ("norms", "hits", "expected"),
    [
        pytest.param([1.0, *ORDINARY], None, SUSPICIOUS, id="all three conditions hold"),
        pytest.param([1.0, *ORDINARY], {0: 95}, SUSPICIOUS, id="just enough success"),
        pytest.param([1.0, *ORDINARY], {0: 94}, INCONCLUSIVE, id="small outlier that works too rarely"),
        pytest.param([1.0, *ORDINARY], {0: None}, INCONCLUSIVE, id="small outlier whose success is not known"),
        pytest.param([6.0, *ORDINARY], None, INCONCLUSIVE, id="outlier that is not small"),
        pytest.param([2.0, 7.0, 10.0, 30.0, 50.0], None, INCONCLUSIVE, id="small but no outlier"),
        pytest.param(ORDINARY, None, NO_EVIDENCE, id="success alone says nothing"),
        pytest.param(ORDINARY, dict.fromkeys(range(6), 0), NO_EVIDENCE, id="nor does failure"),
        pytest.param([100.0, *ORDINARY], None, NO_EVIDENCE, id="outlier on the high side"),
        pytest.param([10.0] * 5, None, NO_EVIDENCE, id="all norms equal"),
        pytest.param([3.0] + [10.0] * 5, None, SUSPICIOUS, id="one smaller among equal norms"),
        pytest.param([9.9] + [10.0] * 5, None, INCONCLUSIVE, id="hardly smaller among equal norms"),
        pytest.param([10.0, 11.0, 12.0], None, NO_EVIDENCE, id="three labels"),
        pytest.param([10.0, 11.0], None, INCONCLUSIVE, id="two labels"),
        pytest.param([1.0, 100.0], None, INCONCLUSIVE, id="two labels far apart"),
        pytest.param([10.0], None, INCONCLUSIVE, id="one label"),
        pytest.param([None] * 4, None, INCONCLUSIVE, id="all censored"),
        pytest.param([None, None, 10.0, 11.0], None, INCONCLUSIVE, id="two left that are not censored"),
        pytest.param([None, 10.0, 11.0, 12.0], None, NO_EVIDENCE, id="three left that are not censored"),
        pytest.param([None, 1.0, *ORDINARY], None, SUSPICIOUS, id="censored labels hide nothing"),
        pytest.param([1.0, 1.1, *ORDINARY, *ORDINARY], {0: 50}, SUSPICIOUS, id="one strong among two small ones"),
    ],
)
def test_the_rule(norms, hits, expected):
    assert verdict(norms, hits) is expected


@pytest.mark.parametrize("other_suspects", [False, True])
@pytest.mark.parametrize("barred", [(), ("Few images.",)])
@pytest.mark.parametrize(
    ("norms", "alone"), [([1.0, *ORDINARY], SUSPICIOUS), ([6.0, *ORDINARY], INCONCLUSIVE), (ORDINARY, NO_EVIDENCE)]
)
def test_what_bars_the_all_clear_erases_no_finding(norms, alone, barred, other_suspects):
    expected = INCONCLUSIVE if alone is NO_EVIDENCE and (barred or other_suspects) else alone
    assert verdict(norms, barred=barred, other_suspects=other_suspects) is expected


def test_labels_of_several_detectors_are_not_counted_together():
    two = judge_labels(detection([10.0, 11.0]))
    many = judge_labels(detection(ORDINARY))
    assert decide([two, two], other_suspects=False, barred=()) is INCONCLUSIVE
    assert decide([two, many], other_suspects=False, barred=()) is NO_EVIDENCE
    assert decide([(), many], other_suspects=False, barred=()) is NO_EVIDENCE
    assert decide([(), ()], other_suspects=False, barred=()) is INCONCLUSIVE


def test_one_detectors_strong_finding_is_enough():
    strong, many = (judge_labels(detection(norms)) for norms in ([1.0, *ORDINARY], ORDINARY))
    assert decide([many, strong], other_suspects=False, barred=()) is SUSPICIOUS


@pytest.mark.parametrize(
    ("index", "log_ratio", "hits", "expected"),
    [
        (2.001, 1.1, 950, "strong"),
        (2.0, 1.1, 950, "weak"),
        (2.001, 1.099, 950, "weak"),
        (2.001, 1.1, 949, "weak"),
        (2.001, 1.1, None, "weak"),
        (2.0, 1.099, 1000, "ordinary"),
        (-5.0, -2.0, 1000, "ordinary"),
        (math.inf, 2.0, 1000, "strong"),
    ],
)
def test_the_edges_of_the_conditions(index, log_ratio, hits, expected):
    success = None if hits is None else wilson(hits, 1000)
    label = Judged(label=0, norm=1.0, index=index, log_ratio=log_ratio, success=success)
    assert (label.strong, label.weak) == (expected == "strong", expected == "weak")


def test_labels_are_judged_against_the_median_and_the_strongest_comes_first():
    judged = judge_labels(detection([10.0, None, 12.0, 2.0, 11.0, 2.5, 13.0], {5: 10}))
    assert [j.label for j in judged] == [3, 5, 0, 4, 2, 6]
    assert judged[0].log_ratio == pytest.approx(math.log(10.5 / 2.0))
    # Deviations from 10.5: 0.5, 1.5, 8.5, 0.5, 8, 2.5, of which the median is 2.
    assert judged[0].index == pytest.approx(8.5 / (1.4826 * 2.0))


def test_the_statistics_are_those_of_the_norms():
    statistics = norm_statistics(judge_labels(detection([10.0, None, 12.0, 2.0, 11.0, 2.5, 13.0])))
    assert (statistics.median, statistics.smallest_label) == (pytest.approx(10.5), 3)
    assert statistics.mad == pytest.approx(1.4826 * 2.0)
    assert statistics.paper_flags == (3, 5)
    assert norm_statistics(()) is None


def test_an_infinite_index_is_none_in_the_statistics():
    statistics = norm_statistics(judge_labels(detection([3.0, 10.0, 10.0, 10.0])))
    assert (statistics.smallest_index, statistics.mad, statistics.paper_flags) == (None, 0.0, (0,))


NORMS = st.lists(st.floats(0.5, 200.0) | st.none(), min_size=1, max_size=12)


@given(norms=NORMS, hits=st.integers(0, 100))
def test_whatever_the_norms_a_bar_only_takes_the_all_clear_away(norms, hits):
    successes = dict.fromkeys(range(len(norms)), hits)
    free, barred = verdict(norms, successes), verdict(norms, successes, barred=("Few images.",))
    assert barred is (INCONCLUSIVE if free is NO_EVIDENCE else free)


@given(norms=NORMS)
def test_success_takes_part_in_strong_findings_only(norms):
    works, fails = verdict(norms), verdict(norms, dict.fromkeys(range(len(norms)), 0))
    assert fails is (INCONCLUSIVE if works is SUSPICIOUS else works)


@given(norms=NORMS, label=st.integers(0, 11))
def test_which_number_a_label_has_does_not_matter(norms, label):
    turned = norms[label % len(norms) :] + norms[: label % len(norms)]
    assert verdict(turned) is verdict(norms)


def says(name, label, p_value, *, hits=None):
    """A detector that names this label; with ``hits`` of 100 it has a trigger for it, else margins."""
    found = () if hits is None else (LabelFinding(label, 3.0, 1, "last step", wilson(hits, 100)),)
    triggers = () if hits is None else (ReversedTrigger(label, torch.ones(1, 3), torch.zeros(1, 1, 3)),)
    indices = {label: 3.0, 9: 0.0}
    margins = {} if hits is not None else {label: 30.0, 9: 10.0}
    return Detection(name, 10, found, triggers, (), None, indices, Cost(), margins=margins, p_value=p_value)


def test_detectors_that_name_the_same_label_are_joined():
    one = join([says("a", 4, 0.03, hits=99), says("b", 4, 0.02)])
    assert (one.label, one.detectors, one.works) == (4, ("a", "b"), True)
    assert one.p_value == pytest.approx(0.0006 * (1 - math.log(0.0006)))
    assert one.strong


def test_of_detectors_that_disagree_the_surest_counts_for_less():
    one = join([says("a", 4, 0.03, hits=99), says("b", 5, 0.004)])
    assert (one.label, one.detectors, one.works) == (5, ("b",), False)
    assert one.p_value == pytest.approx(0.008)
    assert (one.strong, one.noticed) == (False, True)


@pytest.mark.parametrize(("hits", "works"), [(95, True), (94, False), (None, False)])
def test_a_label_counts_if_its_trigger_works_on_heldout_images(hits, works):
    assert join([says("a", 4, 0.001, hits=hits)]).works is works


def test_of_detectors_that_measure_the_same_the_surest_counts_times_their_number():
    one = join([says("a", 4, 0.001, hits=99), says("b", 5, 0.2, hits=99), says("c", 4, 0.01)])
    assert (one.label, one.detectors) == (4, ("a", "c"))
    assert one.p_value == pytest.approx(0.00002 * (1 - math.log(0.00002)))


def test_detectors_without_a_p_value_have_no_part_in_it():
    assert join([]) is None
    assert join([detection(ORDINARY)]) is None
    assert join([detection(ORDINARY), says("a", 2, 0.5)]).detectors == ("a",)
    assert join([dataclasses.replace(says("a", 2, 0.001), indices={})]) is None


@pytest.mark.parametrize(
    ("p_value", "works", "expected"),
    [
        (0.0099, True, SUSPICIOUS),
        (0.01, True, INCONCLUSIVE),
        (0.0099, False, INCONCLUSIVE),
        (0.049, True, INCONCLUSIVE),
        (0.05, True, NO_EVIDENCE),
    ],
)
def test_what_all_say_together_decides_where_no_label_is_strong(p_value, works, expected):
    joint = Joint(label=1, p_value=p_value, detectors=("a",), success=0.95 if works else 0.94)
    ordinary, strong = judge_labels(detection(ORDINARY)), judge_labels(detection([1.0, *ORDINARY]))
    assert decide([ordinary], joint, other_suspects=False, barred=()) is expected
    assert decide([strong], joint, other_suspects=False, barred=()) is SUSPICIOUS
    barred = decide([ordinary], joint, other_suspects=False, barred=("Few images.",))
    assert barred is (INCONCLUSIVE if expected is NO_EVIDENCE else expected)
