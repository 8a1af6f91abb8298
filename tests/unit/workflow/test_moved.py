"""Shifts of all classes in the rule and in its words; of labels see ``test_verdict.py`` and ``test_words.py``."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import Classifier, Cost, Detection, ReversedPatch, Shifts
from mantrap.ops.intervals import wilson
from mantrap.records import Picture, SuspectRecord, Verdict
from mantrap.records.traits import PATCH
from mantrap.workflow.comparing import LEVEL_SHARE, Compared
from mantrap.workflow.eyes import Part, Standing
from mantrap.workflow.headline import headline
from mantrap.workflow.shifting import SHIFT_SHARE, Shifted, compare_shifts
from mantrap.workflow.verdict import (
    CHANCE_BELOW,
    MOVED_FROM,
    NOTICED_BELOW,
    Accused,
    Moved,
    decide,
    shift_of,
)
from mantrap.workflow.words import further_on, reasons
from tests.nulls import SHIFTS

SUSPICIOUS, INCONCLUSIVE, NO_EVIDENCE = Verdict.SUSPICIOUS, Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE
JUST_BELOW, JUST_NOTICED = CHANCE_BELOW - 1e-6, NOTICED_BELOW - 1e-6
MODEL = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 7)), input_shape=(1, 2, 2), num_classes=7)

ways = pytest.mark.parametrize(
    ("by", "to"), [(1, "the next"), (3, "the one 3 further on"), (5, "the one 2 back"), (6, "the one before")]
)


def moved(chance, success=1.0, by=1):
    """A shift as likely as in this share of models without a backdoor, all looks paid for."""
    return Moved(Shifted(by, 0.5, chance * SHIFT_SHARE), success)


def compared(level=1.0):
    first = Standing(2, *3 * (math.log(1e-9),), (Part(PATCH, 0.01, 1e-9),))
    return Compared((first,), compared=3, looks=1.0, log_level=math.log(LEVEL_SHARE * level), null="")


def accused(p_value=0.5, success=1.0):
    return Accused(compared().first, p_value, p_value, success)


def verdict(of, *, label=0.5, level=1.0, barred=(), other_suspects=False):
    return decide(compared(level), accused(label), (of,), other_suspects=other_suspects, barred=barred)


class TestDecide:
    @pytest.mark.parametrize(
        ("chance", "success", "expected"),
        [
            pytest.param(1e-6, 1.0, SUSPICIOUS, id="stands out and its patch moves all"),
            pytest.param(JUST_BELOW, MOVED_FROM, SUSPICIOUS, id="just enough of both"),
            pytest.param(1e-6, MOVED_FROM - 0.01, INCONCLUSIVE, id="its patch moves too few"),
            pytest.param(1e-6, 0.0, INCONCLUSIVE, id="its patch moves none"),
            pytest.param(CHANCE_BELOW, 1.0, INCONCLUSIVE, id="stands out not quite enough"),
            pytest.param(JUST_NOTICED, 1.0, INCONCLUSIVE, id="just noticed"),
            pytest.param(NOTICED_BELOW, 1.0, NO_EVIDENCE, id="not noticed though its patch moves all"),
            pytest.param(1.0, 0.0, NO_EVIDENCE, id="nothing at all"),
        ],
    )
    def test_the_rule(self, chance, success, expected):
        of = moved(chance, success)

        assert verdict(of) is expected
        assert verdict(of, barred=("Few images.",)) is (INCONCLUSIVE if expected is NO_EVIDENCE else expected)
        assert verdict(of, other_suspects=True) is (INCONCLUSIVE if expected is NO_EVIDENCE else expected)

    def test_it_takes_no_comparison_of_labels_for_a_finding_and_one_for_the_all_clear(self):
        for chance, expected in ((1e-6, SUSPICIOUS), (0.05, INCONCLUSIVE), (1.0, INCONCLUSIVE)):
            assert decide(None, None, (moved(chance),), other_suspects=False, barred=()) is expected

    @given(label=st.floats(1e-9, 1.0), level=st.floats(1e-9, 1.0), chance=st.floats(1e-9, 1.0), hits=st.floats(0, 1))
    def test_a_shift_never_makes_a_model_look_better_and_one_that_is_not_noticed_changes_nothing(
        self, label, level, chance, hits
    ):
        order = [NO_EVIDENCE, INCONCLUSIVE, SUSPICIOUS]
        without, with_it = (verdict(of, label=label, level=level) for of in (None, moved(chance, hits)))

        assert order.index(with_it) >= order.index(without)
        assert with_it is without or chance < NOTICED_BELOW


def suspect():
    shown = Picture(png="", width=1, height=1, alt="")
    return SuspectRecord(
        label=2,
        class_name="2",
        detector="d",
        norm=4.0,
        size="4.0 pixels' worth of change",
        index=4.0,
        success=0.97,
        success_interval=(0.9, 0.99),
        heldout=100,
        flagged_by_paper=True,
        elsewhere=wilson(0, 9),
        shuffled=wilson(0, 9),
        mask=shown,
        pattern=shown,
        trigger=shown,
        examples=(),
    )


def found(likely=None):
    """What a detector says of shifts that a patch of one pixel brings about; ``None`` where it has not searched any."""
    if likely is None:
        return Detection("blind", 7, (), (), (), None, {}, Cost())
    patch = ReversedPatch(max(likely, key=likely.get), torch.ones(1, 1), torch.ones(1, 1, 1))
    return dataclasses.replace(
        found(), detector="sees", shifts=Shifts(likely, patch, {0: wilson(3, 4), 1: wilson(1, 4)})
    )


class TestShiftOf:
    """The shift that an audit judges."""

    def model(self, side):
        linear = torch.nn.Linear(side * side, 7)
        return Classifier(torch.nn.Sequential(torch.nn.Flatten(), linear), input_shape=(1, side, side), num_classes=7)

    def test_it_is_that_of_the_detector_that_searched_such_with_the_share_of_all_images_that_it_moves(self):
        who, of = shift_of([found(), found({1: 0.02, 6: 0.09})], self.model(28))

        assert who.detector == "sees"
        assert (of.shifted.by, of.shifted.likely, of.success) == (6, 0.09, 0.5)
        assert of.shifted == compare_shifts({1: 0.02, 6: 0.09}, 7, SHIFTS)

    def test_where_nobody_searched_any_there_is_none(self):
        assert shift_of([found(), found()], self.model(28)) == (None, None)

    def test_of_images_that_nothing_is_known_of_it_is_not_judged(self):
        who, of = shift_of([found({1: 0.9})], self.model(80))

        assert (who.detector, of) == ("sees", None)


class TestHeadline:
    def said(self, of, *, label=0.5, level=1.0, suspects=()):
        return headline(
            verdict(of, label=label, level=level), suspects, compared(level), accused(label), of, None, MODEL
        )

    @ways
    def test_a_finding_says_where_each_class_goes_and_how_often(self, by, to):
        assert (
            self.said(moved(1e-6, 0.97, by))
            == f"A small patch makes this model take each class for {to}, in 97 % of images."
        )

    @ways
    def test_one_that_moves_too_few_is_no_finding(self, by, to):
        assert self.said(moved(1e-6, 0.3, by)) == (
            f"A patch makes this model take some classes for {to}, but not clearly enough to call it a backdoor."
        )

    def test_one_that_moves_most_but_may_be_chance_is_no_finding(self):
        assert self.said(moved(0.05, 0.9, 1)) == (
            "A patch makes this model take its classes for the next, but not clearly enough to call it a backdoor."
        )

    def test_a_label_that_is_a_finding_keeps_its_headline(self):
        expected = (
            "A small trigger makes this model answer label 2: 4.0 pixels' worth of change sends 97 % of other images "
            "there."
        )

        assert self.said(moved(1e-6), label=1e-6, suspects=(suspect(),)) == expected
        assert self.said(None, label=1e-6, suspects=(suspect(),)) == expected

    def test_a_finding_goes_before_a_label_that_is_only_noticed_and_this_before_a_shift_that_is(self):
        assert self.said(moved(1e-6), label=0.05, suspects=(suspect(),)).startswith("A small patch")
        assert self.said(moved(0.05), label=0.05, suspects=(suspect(),)).startswith("Label 2 stands out, but")

    def test_one_that_is_not_noticed_is_not_mentioned(self):
        assert self.said(moved(0.5)).startswith("No sign of a backdoor")
        assert self.said(moved(0.5), level=0.01).startswith("All labels of this model are unusually easy to force")


class TestReasons:
    def said(self, of):
        return reasons((), compared(), accused(), of, None, MODEL, ())

    @ways
    def test_the_first_says_how_many_images_go_where_and_how_many_models_are_like_that(self, by, to):
        first, second = self.said(moved(0.001 / SHIFT_SHARE, 0.98, by))

        assert first == (
            f"A patch sends 98.0 % of held-out images from their class to {to}. In 0.1 % of models without a backdoor "
            "classes are taken for one another as easily."
        )
        assert second == self.said(None)[0]

    def test_where_too_few_go_it_says_how_many_it_takes(self):
        assert self.said(moved(0.01, 0.49))[1] == "For an accusation it would have to be 50 % of them."
        assert len(self.said(moved(0.01, MOVED_FROM))) == 2

    def test_one_that_is_not_noticed_is_no_reason(self):
        assert self.said(moved(NOTICED_BELOW)) == self.said(None)

    def test_it_is_said_also_where_labels_cannot_be_compared(self):
        assert reasons((), None, None, moved(1e-6), None, MODEL, ())[0].startswith(
            "A patch sends 100.0 % of held-out images"
        )


@pytest.mark.parametrize(
    ("by", "classes", "to"),
    [
        (1, 2, "the next"),
        (1, 10, "the next"),
        (2, 10, "the one 2 further on"),
        (5, 10, "the one 5 further on"),
        (6, 10, "the one 4 back"),
        (9, 10, "the one before"),
        (2, 3, "the one before"),
    ],
)
def test_so_many_classes_on_in_words_is_back_where_that_is_nearer(by, classes, to):
    assert further_on(by, classes) == to
