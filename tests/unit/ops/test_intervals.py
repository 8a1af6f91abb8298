"""Wilson's interval against scipy's; the paired one against published tables and its own promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from mantrap.ops.intervals import paired_difference, unpaired_difference, wilson

counts = st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(counts)
def test_it_agrees_with_scipy(count):
    hits, total = count
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    rate = wilson(hits, total)

    assert (rate.hits, rate.total, rate.value) == (hits, total, hits / total)
    assert rate.low == pytest.approx(expected.low, abs=1e-12)
    assert rate.high == pytest.approx(expected.high, abs=1e-12)


@given(counts)
def test_the_share_lies_inside_and_the_interval_between_0_and_1(count):
    rate = wilson(*count)

    assert 0.0 <= rate.low <= rate.value <= rate.high <= 1.0


@given(st.integers(1, 10_000))
def test_none_and_all_end_at_0_and_1_exactly(total):
    assert wilson(0, total).low == 0.0
    assert wilson(total, total).high == 1.0
    assert wilson(total, total).low < 1.0


@pytest.mark.parametrize(("hits", "total"), [(0, 0), (1, 0), (-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_are_refused(hits, total):
    with pytest.raises(ValueError, match=f"got {hits} of {total}"):
        wilson(hits, total)


def paired(both, first, second, neither):
    return paired_difference(both=both, first=first, second=second, neither=neither)


tables = st.tuples(*[st.integers(0, 500)] * 4).filter(any)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe, 1998
        ((59, 6, 16, 80), -0.1186, -0.0046),  # Cavo et al. 2012 in Fagerland, Lydersen and Laake, 2017, chapter 8
    ],
)
def test_published_examples(table, low, high):
    change = paired(*table)
    both, first, second, _ = table

    assert change.value == pytest.approx((first - second) / sum(table))
    assert (change.first, change.second) == (wilson(both + first, sum(table)), wilson(both + second, sum(table)))
    assert (change.low, change.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(tables)
def test_the_difference_lies_inside_and_the_other_way_round_is_its_mirror(table):
    both, first, second, neither = table
    change, mirrored = paired(*table), paired(both, second, first, neither)

    assert -1.0 <= change.low <= change.value <= change.high <= 1.0
    assert (change.low, change.high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-12)


@given(st.integers(1, 400))
def test_two_that_never_differ_leave_some_doubt(total):
    assert paired(total, 0, 0, 0).low < 0.0 < paired(total, 0, 0, 0).high


def test_being_of_the_same_images_makes_the_difference_surer():
    together, apart = paired(950, 5, 15, 30), paired(921, 34, 44, 1)  # the same shares, as if of other images

    assert together.value == apart.value
    assert together.high - together.low < 0.6 * (apart.high - apart.low)


@pytest.mark.parametrize("chances", [(0.85, 0.05, 0.03, 0.07), (0.5, 0.1, 0.2, 0.2)])
def test_it_holds_the_true_difference_as_often_as_it_says(chances):
    draws = np.random.default_rng(0).multinomial(1000, chances, 400)
    changes = [paired(*table) for table in draws.tolist()]
    held = sum(change.low <= chances[1] - chances[2] <= change.high for change in changes)

    assert 0.93 <= held / len(changes) <= 0.97


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (-1, 5, 5, 5), (5, -1, 5, 5), (5, 5, 5, -1)])
def test_impossible_tables_are_refused(table):
    with pytest.raises(ValueError, match="got"):
        paired(*table)


shares = counts.map(lambda count: wilson(*count))


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 10), 0.6075, 1.0)],
)
def test_of_different_images_it_is_newcombes_tenth_method(first, second, low, high):
    """Table II of the paper: examples (a), (b) and (h)."""
    change = unpaired_difference(wilson(*first), wilson(*second))

    assert change.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert (change.low, change.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(shares, shares)
def test_of_different_images_it_lies_inside_and_the_other_way_round_is_its_mirror(first, second):
    change, mirrored = unpaired_difference(first, second), unpaired_difference(second, first)

    assert -1.0 <= change.low <= change.value <= change.high <= 1.0
    assert (change.low, change.high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-12)
