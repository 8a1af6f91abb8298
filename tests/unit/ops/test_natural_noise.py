"""Noise with the spectrum of natural images."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.ops.natural_noise import natural_noise


def generator(seed):
    return Rng(seed).torch()


@pytest.mark.parametrize("shape", [(1, 16, 24), (3, 9, 7), (1, 1, 1)])
def test_pixels_in_range_and_the_same_for_the_same_stream(shape):
    image = natural_noise(shape, generator(0))

    assert image.shape == shape
    assert bool(((image >= 0) & (image <= 1)).all())
    assert torch.equal(image, natural_noise(shape, generator(0)))
    assert not torch.equal(image, natural_noise(shape, generator(1)))


def test_amplitudes_fall_as_one_over_the_frequency():
    """Over many images, for clipping at black and white disturbs each of them a little: 8 times lower, 8 times more."""
    side = 64
    spectrum = sum(torch.fft.rfft2(natural_noise((1, side, side), generator(i)))[0].abs() for i in range(200))
    ratio = float(spectrum[2, 2] / spectrum[16, 16])
    assert ratio == pytest.approx(8, rel=0.2)


def test_brightness_and_contrast_differ_from_image_to_image():
    images = torch.stack([natural_noise((1, 32, 32), generator(i)) for i in range(100)])
    assert float(images.mean((1, 2, 3)).std()) > 0.15
    assert float(images.flatten(1).std(1).std()) > 0.05
