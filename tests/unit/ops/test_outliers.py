"""The anomaly index against a hand computation and against scipy."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from mantrap.ops.outliers import CONSISTENCY, anomaly_indices, mad, median

norms = st.floats(0.01, 1e6)
several = st.lists(norms, min_size=1, max_size=50)


def test_a_hand_computation_for_an_odd_number():
    # Sorted 2, 9, 10, 12, 20: median 10; deviations 8, 1, 0, 2, 10: median 2; times 1.4826 is 2.9652.
    values = [10.0, 2.0, 12.0, 20.0, 9.0]

    assert median(values) == 10.0
    assert mad(values) == pytest.approx(2.9652)
    assert anomaly_indices(values) == pytest.approx([0.0, 8 / 2.9652, -2 / 2.9652, -10 / 2.9652, 1 / 2.9652])


def test_of_an_even_number_the_median_is_the_mean_of_the_two_middle_ones():
    # Sorted 4, 10, 20, 30: median 15, where the lower middle one is 10; deviations 11, 5, 5, 15: median 8, not 5.
    values = [30.0, 4.0, 10.0, 20.0]

    assert median(values) == 15.0
    assert mad(values) == pytest.approx(8 * 1.4826)
    assert anomaly_indices(values) == pytest.approx([-15 / 11.8608, 11 / 11.8608, 5 / 11.8608, -5 / 11.8608])


@given(several)
def test_it_agrees_with_scipy(values):
    scale = median_abs_deviation(values)
    assume(scale > 1e-9 * max(values))

    assert mad(values) == pytest.approx(CONSISTENCY * scale)
    assert anomaly_indices(values) == pytest.approx(list((np.median(values) - values) / (CONSISTENCY * scale)))


@given(st.lists(st.integers(1, 1000), min_size=3, max_size=30), st.integers(-50, 50), st.integers(1, 64))
def test_it_moves_neither_with_the_place_nor_with_the_unit(values, shift, factor):
    moved = [float(value * factor + shift) for value in values]

    assert anomaly_indices(moved) == pytest.approx(anomaly_indices([float(value) for value in values]))


@given(several, st.randoms(use_true_random=False))
def test_the_order_makes_no_difference(values, random):
    order = random.sample(range(len(values)), len(values))
    indices = anomaly_indices(values)

    assert anomaly_indices([values[i] for i in order]) == [indices[i] for i in order]


@given(several)
def test_a_smaller_value_never_has_a_smaller_index(values):
    indices = anomaly_indices(sorted(values))

    assert indices == sorted(indices, reverse=True)


@given(norms, norms)
def test_with_two_labels_it_says_the_same_whatever_the_norms(one, other):
    """A pitfall: the paper's rule cannot fire on two labels."""
    assume(abs(one - other) > 1e-6 * max(one, other))
    low, high = sorted((one, other))

    assert anomaly_indices([low, high]) == pytest.approx([0.6745, -0.6745], abs=1e-4)


@given(norms, st.integers(1, 9))
def test_equal_values_are_no_outliers(value, count):
    assert anomaly_indices([value] * count) == [0.0] * count


def test_where_most_are_equal_another_one_is_infinitely_far():
    assert anomaly_indices([5.0, 5.0, 5.0, 1.0, 9.0]) == [0.0, 0.0, 0.0, math.inf, -math.inf]


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, 1.0], [-math.inf]])
def test_what_cannot_be_compared_is_refused(values):
    with pytest.raises(ValueError, match="expected finite values"):
        anomaly_indices(values)
