"""How high a label stands by a value."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantrap.records.traits import MARGIN, PATCH, PERTURBATION, ROW_MEAN, ROW_NORM, TRAITS, WARP, Trait

NO_NUMBERS = (math.nan, math.inf, -math.inf)

every_trait = pytest.mark.parametrize("trait", TRAITS.values(), ids=TRAITS)


def test_every_trait_is_known_by_its_name_and_triggers_come_first():
    assert list(TRAITS) == ["patch", "perturbation", "warp", "margin", "row_mean", "row_norm"]
    assert all(name == trait.name for name, trait in TRAITS.items())


def test_the_three_kinds_of_trigger_are_one_eye_and_no_others_are():
    assert PATCH.eye == PERTURBATION.eye == WARP.eye
    assert len({trait.eye for trait in TRAITS.values()}) == len(TRAITS) - 2


def test_warps_claim_a_quarter_of_the_false_alarms_that_each_of_the_others_does():
    assert {name: trait.weight for name, trait in TRAITS.items() if trait.weight != 1} == {"warp": 0.25}


def test_only_patches_and_perturbations_are_suspicious_when_small_and_by_their_level():
    assert {trait.name for trait in TRAITS.values() if trait.low} == {"patch", "perturbation"}
    assert {trait.name for trait in TRAITS.values() if trait.level} == {"patch", "perturbation"}


def test_what_is_compared_by_ratios_stands_as_high_as_its_logarithm():
    assert MARGIN.height(math.e) == pytest.approx(1)
    assert ROW_NORM.height(8) - ROW_NORM.height(4) == pytest.approx(math.log(2))


def test_what_is_compared_by_differences_stands_as_high_as_it_is():
    assert [ROW_MEAN.height(value) for value in (-1.5, 0.0, 2.5)] == [-1.5, 0.0, 2.5]


def test_where_small_is_suspicious_small_stands_high():
    assert PATCH.height(0.25) == pytest.approx(math.log(4))
    falling = Trait("t", "e", "T", "of", "unit", ratio=False, low=True)
    assert [falling.height(value) for value in (-1.0, 3.0)] == [1.0, -3.0]


def test_a_share_stands_as_high_as_the_logarithm_of_its_odds():
    assert [WARP.height(share) for share in (0.5, 0.75, 0.1)] == pytest.approx([0.0, math.log(3), -math.log(9)])
    assert {name for name, trait in TRAITS.items() if trait.share} == {"warp"}


@pytest.mark.parametrize("value", [0.0, 1.0, -0.25, 1.25, *NO_NUMBERS], ids=str)
def test_what_is_no_share_between_none_and_all_stands_nowhere(value):
    assert WARP.height(value) is None


@given(pair=st.tuples(*[st.floats(1e-6, 1e6)] * 2).map(sorted))
@every_trait
def test_the_more_suspicious_of_two_values_stands_no_lower(trait, pair):
    small, large = (trait.height(value / (1 + value) if trait.share else value) for value in pair)
    assert small >= large if trait.low else small <= large


@every_trait
@pytest.mark.parametrize("value", NO_NUMBERS, ids=str)
def test_what_is_no_finite_number_stands_nowhere(trait, value):
    assert trait.height(value) is None


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_without_a_positive_value_there_is_no_ratio(value):
    assert [name for name, trait in TRAITS.items() if trait.height(value) is not None] == ["row_mean"]
