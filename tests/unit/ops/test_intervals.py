"""Wilson's interval against scipy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from mantrap.ops.intervals import wilson

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
