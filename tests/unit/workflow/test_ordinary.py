"""Triggers that models without a backdoor have as well are told from those that are evidence."""

import dataclasses

import pytest
import torch

from mantrap.core import ReversedPatch, ReversedPerturbation, ReversedWarp
from mantrap.workflow.ordinary import without_ordinary
from tests import cleansing, stage
from tests.shown import pair_of

LABELS = stage.CLASSES
"""Labels among which each is compared: with a chance of c, one of a clean model's stands as high with 1 - (1 - c)^6."""
JUST_SPECIAL, JUST_ORDINARY = 0.0174, 0.0175
"""1 - 0.9826^6 is 0.0999 and 1 - 0.9825^6 is 0.1005."""
JUST_FOUND, JUST_MISSED = 0.00336, 0.00337
"""1 - 0.99664^6 is 0.01999 and 1 - 0.99663^6 is 0.02005."""
CLEAR, USUAL = 1e-6, 0.5


def patch(label=4):
    return ReversedPatch(label, torch.ones(16, 16), torch.ones(1, 16, 16))


def change(label=4):
    return ReversedPerturbation(label, torch.ones(1, 16, 16))


def warp(label=4):
    return ReversedWarp(label, torch.ones(2, 16, 16))


@pytest.fixture(scope="module")
def record(place):
    """The record of an audit of six labels, in which no trigger was measured."""
    return cleansing.audited(place)


@pytest.fixture
def parted(record):
    """What stays and what is left out of some triggers, by what was told of them."""

    def part(triggers, *entries, **changes):
        return without_ordinary(triggers, dataclasses.replace(cleansing.told(record, *entries), **changes))

    return part


@pytest.mark.parametrize(("make", "trait"), [(patch, "patch"), (change, "perturbation"), (warp, "warp")])
def test_each_kind_is_judged_by_its_own_trait(parted, make, trait):
    clear, usual = make(), {"patch": change, "perturbation": warp, "warp": patch}[trait]()
    others = [(name, 4, USUAL) for name in ("patch", "perturbation", "warp") if name != trait]

    stays, left_out = parted((usual, clear), (trait, 4, CLEAR), *others)
    assert stays == (clear,)
    assert [trigger for trigger, _ in left_out] == [usual]


def test_the_chance_is_that_of_some_label_of_a_whole_model(parted, record):
    assert len(record.comparison.standings) == LABELS
    _, ((_, chance),) = parted((patch(), change()), ("patch", 4, CLEAR), ("perturbation", 4, JUST_ORDINARY))
    assert chance == pytest.approx(1 - (1 - JUST_ORDINARY) ** LABELS)


@pytest.mark.parametrize(("chance", "count"), [(JUST_SPECIAL, 0), (JUST_ORDINARY, 1)])
def test_what_one_model_in_ten_has_is_ordinary(parted, chance, count):
    stays, left_out = parted((patch(), change()), ("patch", 4, CLEAR), ("perturbation", 4, chance))
    assert (len(stays), len(left_out)) == (2 - count, count)


@pytest.mark.parametrize(("chance", "count"), [(JUST_FOUND, 1), (JUST_MISSED, 0)])
def test_what_two_models_in_a_hundred_have_is_no_finding_beside_which_others_are_left_out(parted, chance, count):
    _, left_out = parted((patch(), change()), ("patch", 4, chance), ("perturbation", 4, USUAL))
    assert len(left_out) == count


def test_what_is_left_and_what_is_left_out_keep_their_order(parted):
    triggers = (change(1), patch(4), change(4), warp(1), patch(1), warp(4))
    usual = [(trait, label, USUAL) for trait in ("perturbation", "warp") for label in (1, 4)]
    stays, left_out = parted(triggers, ("patch", 1, CLEAR), ("patch", 4, CLEAR), *usual)

    assert stays == (triggers[1], triggers[4])
    assert [trigger for trigger, _ in left_out] == [triggers[0], triggers[2], triggers[3], triggers[5]]


def test_where_none_would_be_left_all_that_accuse_a_label_stay(parted):
    triggers = (patch(), change(), warp())
    entries = [(trait, 4, USUAL) for trait in ("patch", "perturbation", "warp")]
    assert parted(triggers, *entries) == (triggers, ())


def test_one_label_s_evidence_says_nothing_of_another_label(parted):
    triggers = (patch(4), change(4), change(2))
    stays, left_out = parted(triggers, ("patch", 4, CLEAR), ("perturbation", 4, USUAL), ("perturbation", 2, USUAL))
    assert stays == (triggers[0], triggers[2])
    assert [trigger for trigger, _ in left_out] == [triggers[1]]


@pytest.mark.parametrize("unknown", [(), (("warp", 4, None),), (("warp", 3, USUAL),)])
def test_what_nobody_can_compare_stays_and_proves_nothing(parted, unknown):
    bent, usual, clear = warp(), change(), patch()

    assert parted((bent, usual), ("perturbation", 4, USUAL), *unknown) == ((bent, usual), ())
    stays, left_out = parted((bent, usual, clear), ("perturbation", 4, USUAL), ("patch", 4, CLEAR), *unknown)
    assert (stays, [trigger for trigger, _ in left_out]) == ((bent, clear), [usual])


def test_of_several_detectors_the_one_counts_to_which_it_stands_out_most(parted):
    triggers = (patch(), change())
    more = (("perturbation", 4, USUAL), ("perturbation", 4, CLEAR), ("perturbation", 4, USUAL))
    assert parted(triggers, ("patch", 4, CLEAR), *more) == (triggers, ())


def test_all_detectors_are_asked(record):
    alone = cleansing.told(record, ("patch", 4, CLEAR))
    second = cleansing.told(record, ("perturbation", 4, USUAL)).detections[0]
    both = dataclasses.replace(alone, detections=(*alone.detections, second))
    assert [len(part) for part in without_ordinary((patch(), change()), both)] == [1, 1]


def test_without_a_comparison_all_stay(parted):
    triggers = (patch(), change())
    assert parted(triggers, ("patch", 4, CLEAR), ("perturbation", 4, USUAL), comparison=None) == (triggers, ())


@pytest.mark.parametrize(("to", "noticed", "count"), [(0, True, 0), (0, False, 1), (4, True, 1)])
def test_a_label_to_which_a_pair_of_classes_stands_out_keeps_all(parted, to, noticed, count):
    """The pair leads to label 0; its patch is measured in another way than those of labels."""
    triggers, names = (patch(to), change(to)), [str(k) for k in range(LABELS)]
    entries = (("patch", to, CLEAR), ("perturbation", to, USUAL))
    _, left_out = parted(triggers, *entries, pair=pair_of(names, noticed=noticed))
    assert len(left_out) == count


def test_no_triggers_are_none(parted):
    assert parted(()) == ((), ())
