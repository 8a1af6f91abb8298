"""The table that comes with the package is whole, whatever its numbers."""

import math

import pytest

from mantrap.core import spec_of
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS, AllToAll
from mantrap.detect.nulls import known_coverage, known_nulls
from mantrap.records.traits import TRAITS
from mantrap.workflow.verdict import RULE

NULLS = known_nulls().nulls

every_null = pytest.mark.parametrize("null", NULLS, ids=lambda null: null.arch or "any")


def test_the_first_holds_for_any_network_and_no_network_has_two():
    names = [null.arch for null in NULLS]

    assert names[0] == ""
    assert len(set(names)) == len(names)
    assert known_nulls().for_arch("a_network_that_nobody_knows(width=3)") == NULLS[0]


def test_every_trait_is_known_of_any_network():
    assert [scatter.trait for scatter in NULLS[0].scatters] == list(TRAITS)


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
