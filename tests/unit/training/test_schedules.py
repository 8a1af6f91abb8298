"""Learning rates over time, against values worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantrap.errors import SpecError
from mantrap.training import SCHEDULES


def factors(spec, steps, steps_per_epoch=1):
    schedule = SCHEDULES.create(spec)
    return [schedule.factor(step, steps, steps_per_epoch) for step in range(steps)]


def test_constant():
    assert factors("constant", 4) == [1.0] * 4


def test_cosine_falls_along_half_a_period():
    got = factors("cosine", 4)
    assert got == pytest.approx([1.0, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2])


def test_cosine_rises_over_its_warm_up_first():
    got = factors("cosine(warmup=0.5)", 8)
    assert got[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert got[4:] == pytest.approx(factors("cosine", 4))


def test_steps_count_epochs_not_updates():
    got = factors("step(every=2, gamma=0.1)", 15, steps_per_epoch=3)
    assert got == pytest.approx([1.0] * 6 + [0.1] * 6 + [0.01] * 3)


def test_inverse_time():
    assert factors("inverse_time(decay=0.5)", 4) == pytest.approx([1, 1 / 1.5, 1 / 2, 1 / 2.5])


@given(
    spec=st.sampled_from(["constant", "cosine", "cosine(warmup=0.3)", "step(every=1)", "inverse_time(decay=0.1)"]),
    epochs=st.integers(1, 12),
    per_epoch=st.integers(1, 7),
)
def test_no_schedule_ever_raises_the_rate_above_the_optimisers_own_or_turns_it(spec, epochs, per_epoch):
    got = factors(spec, epochs * per_epoch, per_epoch)
    assert all(0 < factor <= 1 + 1e-12 for factor in got)


@pytest.mark.parametrize(
    "spec", ["cosine(warmup=1.0)", "cosine(warmup=-0.1)", "step(every=0)", "step(gamma=1.0)", "inverse_time(decay=-1)"]
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        SCHEDULES.create(spec)
