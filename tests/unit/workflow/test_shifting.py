"""The chance of a likeliest shift, against models without a backdoor of which it is known."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mantrap.records import ShiftScatter
from mantrap.workflow.comparing import LEVEL_SHARE, shifts_for
from mantrap.workflow.shifting import SHIFT_SHARE, Shifted, compare_shifts
from tests.nulls import SHIFTS

FEW = ShiftScatter(fewest=2, most=5, centre=0.08, between=0.06, models=23, shifts=4)
MANY = ShiftScatter(fewest=6, most=50, centre=0.05, between=0.03, models=51, shifts=4)
ROWS = (FEW, MANY)


def chance(likely, row):
    """What Student's distribution says of the next model of a normal population of which so many were seen."""
    scale = row.between * math.sqrt(1 + 1 / row.models)
    return stats.t.sf(likely, row.models - 1, loc=row.centre, scale=scale)


@given(st.floats(0.0, 1.0))
def test_the_chance_is_that_of_the_next_of_so_many_models(likely):
    found = compare_shifts({1: likely, 9: 0.0}, 10, ROWS)

    assert found.alone == pytest.approx(chance(likely, MANY), rel=1e-6)
    assert found.likely == likely


@pytest.mark.parametrize(
    ("classes", "row"), [(2, FEW), (3, FEW), (5, FEW), (6, MANY), (43, MANY), (50, MANY)], ids=lambda v: str(v)[:5]
)
def test_models_of_few_classes_are_compared_with_such_and_of_many_with_such(classes, row):
    for rows in (ROWS, ROWS[::-1]):
        assert compare_shifts({1: 0.2}, classes, rows).alone == pytest.approx(chance(0.2, row), rel=1e-6)


@pytest.mark.parametrize("known", [(), (FEW,)], ids=["nothing", "of fewer classes"])
def test_where_nothing_is_known_nothing_is_said(known):
    assert compare_shifts({1: 0.9}, 10, known) is None


def test_where_nothing_was_searched_nothing_is_said():
    assert compare_shifts({}, 10, ROWS) is None


class TestLikeliest:
    def test_it_counts_whichever_it_is(self):
        assert compare_shifts({1: 0.1, 9: 0.4, 2: 0.3}, 10, ROWS).by == 9
        assert compare_shifts({1: 0.1, 9: 0.4, 2: 0.3}, 10, ROWS).likely == 0.4

    def test_of_two_alike_the_smaller_does(self):
        assert compare_shifts({9: 0.4, 1: 0.4, 2: 0.1}, 10, ROWS).by == 1


class TestLooks:
    @pytest.mark.parametrize(("looked", "factor"), [(1, 1.0), (3, 1.0), (4, 1.0), (6, 1.5), (9, 2.25)])
    def test_who_looks_at_more_shifts_than_were_looked_at_there_pays_for_it(self, looked, factor):
        likely = {by: 0.15 if by == 1 else 0.01 for by in range(1, looked + 1)}

        assert compare_shifts(likely, 10, ROWS).alone == pytest.approx(factor * chance(0.15, MANY), rel=1e-6)

    @pytest.mark.parametrize("classes", [2, 3, 5])
    def test_all_that_there_are_of_few_classes_are_no_more_than_were_looked_at_there(self, classes):
        likely = dict.fromkeys(range(1, classes), 0.15)

        assert compare_shifts(likely, classes, ROWS).alone == pytest.approx(chance(0.15, FEW), rel=1e-6)

    def test_a_chance_is_never_above_1(self):
        found = compare_shifts(dict.fromkeys(range(1, 10), 0.001), 10, ROWS)

        assert (found.alone, found.chance) == (1.0, 1.0)


class TestShare:
    def test_shifts_have_their_share_of_the_false_alarms(self):
        assert Shifted(1, 0.2, 0.001).chance == pytest.approx(0.001 / SHIFT_SHARE)
        assert Shifted(1, 0.2, 0.5).chance == 1.0

    def test_labels_levels_and_shifts_share_them_all(self):
        assert 0 < SHIFT_SHARE < 1 - LEVEL_SHARE - SHIFT_SHARE < 1

    def test_a_model_without_a_backdoor_looks_suspicious_no_more_often_than_its_chance_says(self):
        rng, found = np.random.default_rng(0), []
        for _ in range(2000):
            *seen, new = rng.normal(0.5, 0.05, 9).tolist()
            row = dataclasses.replace(FEW, centre=np.mean(seen).item(), between=np.std(seen, ddof=1).item(), models=8)
            found.append(compare_shifts({1: new}, 5, [row]).alone)

        for level in (0.005, 0.05, 0.5):
            # 99.9 % of what as many honest tests would say.
            low, high = stats.binom.ppf([0.0005, 0.9995], len(found), level)
            assert low <= (np.array(found) < level).sum() <= high


@pytest.mark.parametrize(
    ("shape", "known"),
    [
        ((1, 28, 28), True),
        ((3, 12, 64), True),
        ((3, 64, 12), True),
        ((3, 11, 32), False),
        ((3, 32, 11), False),
        ((3, 32, 65), False),
        ((1, 224, 224), False),
    ],
)
def test_shifts_are_known_of_images_from_half_to_twice_the_size_of_those_that_were_learned_from(shape, known):
    assert shifts_for(shape) == (SHIFTS if known else ())
