"""The table that comes with the package is whole, whatever its numbers."""

import math

import pytest

from mantrap.core import spec_of
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS, AllToAll
from mantrap.detect.nulls import known_coverage, known_nulls
from mantrap.records.traits import TRAITS
from mantrap.workflow.verdict import RULE

NULLS, COPIES = known_nulls().nulls, known_nulls().beside_copies

every_table = pytest.mark.parametrize("table", [NULLS, COPIES], ids=["alone", "beside copies"])
every_null = pytest.mark.parametrize(
    "null",
    [*NULLS, *COPIES],
    ids=lambda null: f"{null.arch or 'any'}{'-beside-a-copy' if null in COPIES else ''}",
)


@every_table
def test_the_first_holds_for_any_network_and_no_network_has_two(table):
    names = [null.arch for null in table]

    assert names[0] == ""
    assert len(set(names)) == len(names)


def test_a_network_that_nobody_knows_has_the_first():
    name = "a_network_that_nobody_knows(width=3)"

    assert known_nulls().for_arch(name) == NULLS[0]
    assert known_nulls().beside_copy(name) == COPIES[0]


@every_table
def test_every_trait_is_known_of_any_network(table):
    assert [scatter.trait for scatter in table[0].scatters] == list(TRAITS)


@pytest.mark.parametrize("null", COPIES, ids=lambda null: null.arch or "any")
def test_copies_explain_what_is_searched_and_not_the_last_layer_which_is_new_in_them(null):
    for scatter in null.scatters:
        assert (0 < scatter.kept < 1) is (not TRAITS[scatter.trait].least)


@pytest.mark.parametrize("null", NULLS, ids=lambda null: null.arch or "any")
def test_models_alone_have_no_copies_to_explain_them(null):
    assert {scatter.kept for scatter in null.scatters} == {0.0}


@every_null
def test_its_scatters_can_be_reckoned_with(null):
    for scatter in null.scatters:
        assert scatter.trait in TRAITS
        assert scatter.spread > 0
        assert scatter.freedom > 0
        assert math.isfinite(scatter.centre)
        assert scatter.models >= 3
        assert scatter.labels > scatter.models


@every_null
def test_only_traits_whose_level_says_something_have_a_scatter_of_levels(null):
    for scatter in null.scatters:
        assert (scatter.between is not None) == TRAITS[scatter.trait].level
        assert scatter.between is None or scatter.between > 0


@every_null
def test_how_traits_stand_out_together_is_a_covariance_of_chances(null):
    size = len(null.scatters)

    assert [len(row) for row in null.together] == [size] * size
    for i in range(size):
        assert null.together[i][i] == 4.0
        for j in range(size):
            assert null.together[i][j] == null.together[j][i]
            assert 0 <= null.together[i][j] <= 4


def test_shifts_are_known_of_every_number_of_classes_once():
    rows = sorted(known_nulls().shifts, key=lambda row: row.fewest)

    assert rows[0].fewest == 2
    assert rows[-1].most >= 100_000
    assert [after.fewest for after in rows[1:]] == [before.most + 1 for before in rows[:-1]]


@pytest.mark.parametrize("row", known_nulls().shifts, ids=lambda row: f"from-{row.fewest}")
def test_how_shifts_scatter_can_be_reckoned_with(row):
    assert 0 < row.centre < 1
    assert 0 < row.between < 1
    assert row.models >= 3
    assert row.shifts == AllToAll().shifts  # what an audit looks at is what was looked at there


def test_what_audits_find_was_measured_with_the_detectors_and_the_rule_of_today():
    known = known_coverage()

    assert known.rule == RULE
    assert known.detectors == tuple(str(spec_of(DETECTORS.create(name))) for name in DEFAULT_DETECTORS)
    assert known.families[0].family == "clean"
    assert all(family.noticed.hits >= family.found.hits for family in known.families)
