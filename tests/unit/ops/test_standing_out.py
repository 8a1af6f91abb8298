"""The p-value of the largest number: uniform where nothing stands out, small where something does."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mantrap.core import Rng
from mantrap.ops import standing_out
from mantrap.ops.standing_out import chance_of_largest


@pytest.mark.parametrize(("count", "shape"), [(4, 5.0), (10, 20.0), (10, 2.0), (43, 10.0)])
def test_without_anything_special_small_values_are_as_rare_as_they_say(count, shape, monkeypatch):
    monkeypatch.setattr(standing_out, "_SAMPLES", 500)
    draws = np.random.default_rng(count).gamma(shape, 3.0, (200, count))
    found = np.array([chance_of_largest(row.tolist(), Rng(seed)) for seed, row in enumerate(draws)])

    for level in (0.05, 0.2, 0.5):
        # 99.9 % of what 200 honest tests would do.
        low, high = stats.binom.ppf([0.0005, 0.9995], 200, level)
        assert low <= (found < level).sum() <= high


@pytest.mark.parametrize("left_out", [1, 3, 5])
def test_numbers_too_small_to_be_known_make_it_no_less_honest(left_out, monkeypatch):
    monkeypatch.setattr(standing_out, "_SAMPLES", 300)
    draws = np.sort(np.random.default_rng(left_out).gamma(9.0, 1.0, (200, 10)))[:, left_out:]
    found = np.array([chance_of_largest(row.tolist(), Rng(s), left_out=left_out) for s, row in enumerate(draws)])

    for level in (0.05, 0.2):
        low, high = stats.binom.ppf([0.0005, 0.9995], 200, level)
        assert low <= (found < level).sum() <= high


def test_the_uncorrected_chance_would_be_too_small():
    draws = np.random.default_rng(0).gamma(20.0, 1.0, (200, 5))
    tails = [float(standing_out._log_chance(torch.tensor(row)).exp()) for row in draws]
    uncorrected = 1 - (1 - np.array(tails)) ** 5

    assert (uncorrected < 0.05).mean() > 0.15


def test_the_further_out_the_smaller_the_chance():
    usual = [9.0, 10.0, 10.5, 11.0, 9.5, 10.2, 8.8, 9.9, 10.4]
    found = [chance_of_largest([*usual, largest], Rng(0)) for largest in (11.5, 13.0, 16.0, 40.0)]

    assert found == sorted(found, reverse=True)
    assert found[0] > 0.2
    assert found[-1] < 0.001


def test_a_small_number_does_not_stand_out():
    assert chance_of_largest([0.5, 10.0, 10.5, 11.0, 9.5, 10.2], Rng(0)) > 0.5


def test_one_of_few_has_to_stand_out_further():
    few, many = [10.0, 10.5, 11.0], [10.0, 10.5, 11.0] * 5

    assert chance_of_largest([*few, 14.0], Rng(0)) > chance_of_largest([*many, 14.0], Rng(0))


@given(st.lists(st.floats(0.1, 100.0), min_size=4, max_size=9), st.sampled_from([1e-6, 1e6]))
def test_the_unit_does_not_matter_nor_the_order(values, unit):
    one = chance_of_largest(values, Rng(1))

    assert chance_of_largest([v * unit for v in values], Rng(1)) == pytest.approx(one, abs=2e-3)
    assert chance_of_largest(values[::-1], Rng(1)) == one


def test_the_fit_is_that_of_the_largest_likelihood():
    sample = np.random.default_rng(3).gamma(3.0, 2.0, 50)
    shape, scale = standing_out._fit(torch.tensor(sample))
    expected, _, size = stats.gamma.fit(sample, floc=0)

    assert float(shape) == pytest.approx(expected, rel=1e-5)
    assert float(scale) == pytest.approx(size, rel=1e-5)


def test_of_very_many_numbers_nothing_is_drawn_and_the_answer_is_that_of_the_distribution(monkeypatch):
    sample = np.random.default_rng(3).gamma(9.0, 1.0, 2000)
    drawn = chance_of_largest(sample[:790].tolist(), Rng(0))
    monkeypatch.setattr(standing_out, "_MANY", 700)

    assert chance_of_largest(sample[:790].tolist(), Rng(0)) == pytest.approx(drawn, abs=0.1)
    assert chance_of_largest([*sample.tolist(), 100.0], Rng(0)) < 1e-9


def test_equal_numbers_do_not_stand_out():
    assert chance_of_largest([3.0] * 5, Rng(0)) == 1.0


def test_fewer_than_four_numbers_say_nothing():
    assert chance_of_largest([1.0, 2.0, 300.0], Rng(0)) is None
    assert chance_of_largest([], Rng(0)) is None


def test_the_global_stream_is_not_moved():
    before = torch.get_rng_state()
    chance_of_largest([1.0, 2.0, 3.0, 4.0], Rng(0))

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_are_not_positive_are_refused(bad):
    with pytest.raises(ValueError, match="expected positive numbers"):
        chance_of_largest([1.0, 2.0, bad, 3.0], Rng(0))
