"""The tails of Student's t: those of scipy, near and far, for any number of degrees of freedom."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mantrap.ops.student import log_upper_tail

NEAR_AND_FAR = np.array([0.0, 0.001, 0.1, 0.5, 1.0, 1.7, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1e3, 1e4])
FREEDOM = st.floats(0.01, 1000.0)
T = st.floats(-1e4, 1e4)


def tail(t, freedom):
    return float(log_upper_tail(np.array([t]), np.array([freedom]))[0])


@pytest.mark.parametrize("freedom", [0.01, 0.3, 1.0, 2.68, 7.5, 30.0, 1000.0])
def test_the_tails_are_those_of_scipy_near_and_far(freedom):
    t = np.concatenate([-NEAR_AND_FAR, NEAR_AND_FAR])
    found, expected = log_upper_tail(t, np.full_like(t, freedom)), stats.t.logsf(t, freedom)
    known = np.isfinite(expected)

    assert known.sum() > 20
    assert found[known] == pytest.approx(expected[known], rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("freedom", [0.3, 2.0, 7.5, 100.0, 1000.0])
def test_far_out_each_doubling_costs_as_many_halvings_as_there_are_degrees_of_freedom(freedom):
    # No double holds these chances for many degrees of freedom, but their logarithms.
    assert tail(1e4, freedom) - tail(2e4, freedom) == pytest.approx(freedom * math.log(2), rel=1e-4)
    assert math.isfinite(tail(1e8, freedom))


@given(t=T, freedom=FREEDOM)
def test_what_lies_above_and_what_lies_below_is_all_there_is(t, freedom):
    assert math.exp(tail(t, freedom)) + math.exp(tail(-t, freedom)) == pytest.approx(1.0, rel=1e-9)


@given(t=T, freedom=FREEDOM, further=st.floats(0.01, 100.0))
def test_the_further_out_the_smaller_the_chance(t, freedom, further):
    assert tail(t + further, freedom) <= tail(t, freedom) <= 0


@given(t=st.floats(2.0, 1e4), freedom=st.floats(0.01, 500.0))
def test_the_fewer_degrees_of_freedom_the_heavier_the_tail(t, freedom):
    assert tail(t, 2 * freedom) < tail(t, freedom)


def test_every_number_has_a_freedom_of_its_own_and_any_shape_will_do():
    t = np.array([[0.5, -2.0, 4.0], [1.0, 30.0, 0.0]])
    freedom = np.array([[1.0, 3.5, 1000.0], [0.2, 8.0, 2.0]])

    assert log_upper_tail(t, freedom) == pytest.approx(stats.t.logsf(t, freedom), rel=1e-10)
    assert log_upper_tail(t, np.array(3.0)) == pytest.approx(stats.t.logsf(t, 3.0), rel=1e-10)
