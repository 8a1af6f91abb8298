"""The signals of SIG against their formulas, written out pixel by pixel."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import Rng
from mantrap.errors import SpecError
from mantrap.poison import TRIGGERS
from mantrap.poison.triggers.signal import Signal


def by_hand(image, kind, delta, frequency):
    """One image, [c, h, w], with the signal of Barni et al. on it: columns count from 1 to m."""
    after = image.clone()
    columns = image.shape[2]
    for j in range(1, columns + 1):
        v = j * delta / columns if kind == "ramp" else delta * math.sin(2 * math.pi * j * frequency / columns)
        for channel in range(image.shape[0]):
            for i in range(image.shape[1]):
                value = float(image[channel, i, j - 1]) * 255 + v
                after[channel, i, j - 1] = min(max(value, 0), 255) / 255
    return after


@pytest.mark.parametrize("shape", [(3, 5, 8), (1, 28, 28), (2, 3, 31)], ids=str)
@pytest.mark.parametrize(
    ("kind", "delta", "frequency"), [("ramp", 30.0, 6.0), ("sinusoid", 20.0, 6.0), ("sinusoid", 200.0, 2.5)]
)
def test_it_is_the_formula_of_the_paper_added_and_cut_off(shape, kind, delta, frequency):
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    after = Signal(kind=kind, delta=delta, frequency=frequency)(images, rng=Rng(0))
    expected = torch.stack([by_hand(image, kind, delta, frequency) for image in images])
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=0)


def test_it_is_added_and_blends_nothing():
    # Where nothing is cut off the image keeps its contrast: any two images stay as far apart as they were.
    first, second = torch.full((1, 1, 4, 28), 0.3), torch.full((1, 1, 4, 28), 0.7)
    signal = Signal(delta=60)
    torch.testing.assert_close(
        signal(second, rng=Rng(0)) - signal(first, rng=Rng(0)), torch.full((1, 1, 4, 28), 0.4), atol=1e-6, rtol=0
    )


def test_a_ramp_rises_from_one_step_to_delta():
    row = Signal(kind="ramp", delta=51)(torch.zeros(1, 1, 1, 10), rng=Rng(0)).flatten()
    torch.testing.assert_close(row, torch.arange(1, 11) * 0.02, atol=1e-6, rtol=0)


@given(periods=st.integers(1, 9), repeats=st.integers(4, 12), delta=st.floats(1, 120))
def test_a_sinusoid_has_as_many_periods_as_its_frequency_and_delta_for_amplitude(periods, repeats, delta):
    row = Signal(delta=delta, frequency=periods).row(4 * periods * repeats).double() * 255
    one = row[: 4 * repeats]
    torch.testing.assert_close(row, one.repeat(periods), atol=1e-3, rtol=0)
    assert float(one.max()) == pytest.approx(delta, abs=1e-3)
    assert float(one.min()) == pytest.approx(-delta, abs=1e-3)
    assert int((one > 0).diff().sum()) == 1


def test_the_default_is_the_papers_sinusoid():
    assert Signal() == Signal(kind="sinusoid", delta=20, frequency=6)


@pytest.mark.parametrize(
    "spec",
    ["signal(delta=0)", "signal(delta=-3)", "signal(delta=256)", "signal(frequency=0)", "signal(kind='saw')"],
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        TRIGGERS.create(spec)
