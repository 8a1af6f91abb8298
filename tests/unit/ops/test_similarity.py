"""Similarity of images against an independent computation and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from mantrap.ops.similarity import largest_change, psnr, ssim


def pair(shape, spread=0.1, seed=0):
    """Images and disturbed ones, both in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(shape, generator=generator)
    return images, (images + spread * torch.randn(shape, generator=generator)).clamp(0, 1)


def reference(x, y):
    """Structural similarity of two images of one channel by SciPy's Gaussian filter, windows that lie within them."""

    def blur(values):
        return gaussian_filter(values, sigma=1.5, truncate=10 / 3, mode="constant")[5:-5, 5:-5]

    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, both = blur(x**2) - mean_x**2, blur(y**2) - mean_y**2, blur(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    return float((light * (2 * both + 9e-4) / (var_x + var_y + 9e-4)).mean())


class TestSsim:
    @pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 32, 32), (2, 3, 11, 17)], ids=str)
    @pytest.mark.parametrize("spread", [0.01, 0.1, 0.5])
    def test_it_equals_a_computation_by_scipy(self, shape, spread):
        x, y = pair(shape, spread)
        expected = [
            np.mean([reference(a, b) for a, b in zip(first, second, strict=True)])
            for first, second in zip(x.numpy(), y.numpy(), strict=True)
        ]
        assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-6)

    def test_two_plain_images_differ_by_their_light_alone(self):
        x, y = torch.full((1, 1, 20, 20), 0.2), torch.full((1, 1, 20, 20), 0.6)
        assert float(ssim(x, y)) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-6)

    def test_a_negative_is_unlike(self):
        x, _ = pair((1, 1, 24, 24))
        assert float(ssim(x, 1 - x)) < 0

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (4, 7), (10, 10), (11, 3)], ids=str)
    def test_small_images_get_the_largest_odd_window_that_fits(self, size):
        x, y = pair((4, 2, *size))
        values = ssim(x, y)
        assert values.shape == (4,)
        assert bool((values < 1).all())
        assert bool((values > -1).all())
        assert bool((ssim(x, x) == 1).all())

    def test_a_window_of_one_pixel_sees_light_alone(self):
        x, y = torch.full((1, 1, 2, 2), 0.1), torch.full((1, 1, 2, 2), 0.3)
        assert float(ssim(x, y)) == pytest.approx((0.06 + 1e-4) / (0.1 + 1e-4), abs=1e-6)

    @given(
        seed=st.integers(0, 10_000),
        height=st.integers(1, 16),
        width=st.integers(1, 16),
        spread=st.sampled_from([1e-3, 0.1, 1.0]),
    )
    def test_it_is_1_for_equal_images_and_less_for_others_and_symmetric(self, seed, height, width, spread):
        x, y = pair((2, 1, height, width), spread, seed)
        assert ssim(x, x).tolist() == [1.0, 1.0]
        assert torch.equal(ssim(x, y), ssim(y, x))
        # In double precision: of one image in a thousand changed by a thousandth, single precision keeps a 1.
        values = ssim(x.double(), y.double())
        assert [bool(v < 1) for v in values] == [not torch.equal(a, b) for a, b in zip(x, y, strict=True)]


class TestPsnr:
    @pytest.mark.parametrize(("change", "decibels"), [(1.0, 0.0), (0.1, 20.0), (1 / 255, 20 * math.log10(255))])
    def test_of_an_even_change_it_is_known(self, change, decibels):
        x = torch.zeros(2, 3, 5, 4)
        assert psnr(x, x + change).tolist() == pytest.approx([decibels] * 2, abs=1e-4)

    def test_of_one_changed_pixel_it_is_known(self):
        x = torch.full((1, 1, 4, 5), 0.5)
        y = x.clone()
        y[0, 0, 2, 3] = 1.0
        assert float(psnr(x, y)) == pytest.approx(10 * math.log10(20 / 0.25), abs=1e-4)

    def test_of_equal_images_it_is_infinite(self):
        x, _ = pair((2, 1, 4, 4))
        assert psnr(x, x).tolist() == [math.inf, math.inf]


def test_the_largest_change_is_that_of_any_pixel_up_or_down():
    x = torch.full((2, 2, 3, 3), 0.5)
    y = x.clone()
    y[0, 1, 2, 0], y[0, 0, 0, 0], y[1, 0, 1, 1] = 0.125, 0.75, 0.625
    assert largest_change(x, y).tolist() == [0.375, 0.125]


@pytest.mark.parametrize("measure", [ssim, psnr, largest_change], ids=lambda measure: measure.__name__)
def test_an_image_is_judged_alike_alone_and_in_a_batch(measure):
    x, y = pair((5, 3, 14, 13))
    together = measure(x, y)
    assert together.dtype == torch.float32
    torch.testing.assert_close(
        together, torch.cat([measure(x[i : i + 1], y[i : i + 1]) for i in range(5)]), atol=1e-6, rtol=0
    )
