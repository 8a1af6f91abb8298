"""The trigger of FTrojan against the paper's steps: into the frequency domain, add, and back, block by block."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from mantrap.core import Rng
from mantrap.errors import SpecError
from mantrap.ops.similarity import largest_change
from mantrap.poison import TRIGGERS
from mantrap.poison.triggers.spectrum import Spectrum

PLANES = {"uv": [1, 2], "yuv": [0, 1, 2]}


def to_planes(rgb):
    """Luminance and the differences to red and to blue of [3, h, w] in 0 to 255, ITU-R BT.601."""
    luminance = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    return np.stack([luminance, 0.713 * (rgb[0] - luminance), 0.564 * (rgb[2] - luminance)])


def to_rgb(planes):
    luminance, v, u = planes
    red, blue = luminance + v / 0.713, luminance + u / 0.564
    return np.stack([red, (luminance - 0.299 * red - 0.114 * blue) / 0.587, blue])


def in_blocks(plane, block, places, magnitude):
    """A plane whose blocks' spectra got the magnitude at these places."""
    after = plane.copy()
    for row in range(0, plane.shape[0], block):
        for column in range(0, plane.shape[1], block):
            spectrum = dctn(plane[row : row + block, column : column + block], norm="ortho")
            for place in places:
                spectrum[place] += magnitude
            after[row : row + block, column : column + block] = idctn(spectrum, norm="ortho")
    return after


def images(shape, count=2):
    """Far enough from black and white that nothing is cut off."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2


@pytest.mark.parametrize("planes", ["uv", "yuv", "rgb"])
@pytest.mark.parametrize("size", [(32, 32), (64, 32)], ids=str)
def test_it_is_what_the_authors_do_step_by_step(planes, size):
    before = images((3, *size))
    after = Spectrum(planes=planes)(before, rng=Rng(0))
    for image, triggered in zip(before.double().numpy() * 255, after.numpy() * 255, strict=True):
        changed = image if planes == "rgb" else to_planes(image)
        for plane in PLANES.get(planes, [0, 1, 2]):
            changed[plane] = in_blocks(changed[plane], 32, [(15, 15), (31, 31)], 30)
        expected = changed if planes == "rgb" else to_rgb(changed)
        # The constants of the way back are rounded to three digits, here and in the authors' library.
        np.testing.assert_allclose(triggered, expected, atol=0.01)


@pytest.mark.parametrize(
    ("side", "block", "frequencies", "places"),
    [
        (28, 32, (0.5, 1.0), [(13, 13), (27, 27)]),
        (24, 8, (1.0,), [(7, 7)]),
        (20, 10, (0.25, 0.5), [(2, 2), (4, 4)]),
    ],
)
def test_a_grey_image_is_changed_in_its_one_channel_at_these_shares(side, block, frequencies, places):
    before = images((1, side, side))
    after = Spectrum(block=block, frequencies=frequencies, magnitude=20)(before, rng=Rng(0))
    for (image,), (triggered,) in zip(before.double().numpy() * 255, after.numpy() * 255, strict=True):
        np.testing.assert_allclose(triggered, in_blocks(image, block, places, 20), atol=1e-3)


def test_sides_that_are_no_multiple_of_a_block_are_cut_evenly():
    pattern = Spectrum(block=8, frequencies=(1.0,), magnitude=255).pattern((1, 17, 9))[0]
    assert pattern.shape == (17, 9)
    for rows in (slice(0, 6), slice(6, 12), slice(12, 17)):
        for columns in (slice(0, 5), slice(5, 9)):
            spectrum = dctn(pattern[rows, columns].double().numpy(), norm="ortho")
            assert spectrum[-1, -1] == pytest.approx(1, abs=1e-5)
            spectrum[-1, -1] = 0
            assert np.abs(spectrum).max() < 1e-5


def test_luminance_is_left_alone_by_a_change_of_colour():
    red, green, blue = Spectrum().pattern((3, 32, 32)).double()
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    assert float(luminance.abs().max()) < 0.001 * float(blue.abs().max())


def test_the_default_is_hardly_seen():
    # Two waves of 30 * 2 / 32 grey levels in a plane of colour; blue gains 1.773 times as much.
    changes = largest_change(images((3, 32, 32)), Spectrum()(images((3, 32, 32)), rng=Rng(0))) * 255
    assert bool((changes <= 2 * 30 * 2 / 32 * 1.773).all())
    assert bool((changes > 5).all())


def test_what_leaves_the_range_is_cut_off_and_does_not_wrap_around():
    strong = Spectrum(magnitude=300)
    pattern = strong.pattern((3, 32, 32))
    for level in (0.0, 1.0):
        plain = torch.full((1, 3, 32, 32), level)
        assert torch.equal(strong(plain, rng=Rng(0))[0], (plain[0] + pattern).clamp(0, 1))


@pytest.mark.parametrize(
    "spec",
    [
        "spectrum(magnitude=0)",
        "spectrum(frequencies=())",
        "spectrum(frequencies=(0.5, 1.5))",
        "spectrum(frequencies=(0.0,))",
        "spectrum(block=1)",
        "spectrum(planes='hsv')",
    ],
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        TRIGGERS.create(spec)
