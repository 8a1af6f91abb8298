"""Augmentation moves pixels, never out of range, and the same stream of numbers moves them alike."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.errors import SpecError
from mantrap.training import AUGMENTATIONS

IMAGES = torch.rand(3, 2, 9, 7, generator=torch.Generator().manual_seed(0))
SETTINGS = {
    "degrees": st.floats(0, 180),
    "shift": st.floats(0, 0.5),
    "scale": st.floats(0, 0.9),
    "seed": st.integers(0, 1000),
}


def moved(spec, images=IMAGES, seed=0):
    return AUGMENTATIONS.create(spec)(images, generator=torch.Generator().manual_seed(seed))


def affine(degrees, shift, scale):
    return f"affine(degrees={degrees!r}, shift={shift!r}, scale={scale!r})"


def test_none_is_the_batch_itself():
    assert moved("none") is IMAGES


def test_affine_by_nothing_changes_nothing():
    torch.testing.assert_close(moved(affine(0, 0, 0)), IMAGES, atol=1e-5, rtol=0)


@pytest.mark.parametrize("spec", [affine(20, 0, 0), affine(0, 0.2, 0), affine(0, 0, 0.3)])
def test_each_setting_moves_pixels_alone_and_every_image_its_own_way(spec):
    twins = IMAGES[:1].expand(2, -1, -1, -1)
    first, second = moved(spec, twins, seed=1)
    assert all(float((image - IMAGES[0]).abs().max()) > 0.01 for image in (first, second))
    assert float((first - second).abs().max()) > 0.05


@given(**SETTINGS)
def test_values_stay_in_range_and_the_batch_is_untouched(degrees, shift, scale, seed):
    before = IMAGES.clone()
    after = moved(affine(degrees, shift, scale), seed=seed)
    assert after.shape == IMAGES.shape
    assert float(after.min()) >= 0
    assert float(after.max()) <= 1
    assert torch.equal(IMAGES, before)


@given(**SETTINGS)
def test_what_comes_in_from_outside_repeats_the_border(degrees, shift, scale, seed):
    grey = torch.full((2, 1, 6, 6), 0.25)
    torch.testing.assert_close(moved(affine(degrees, shift, scale), grey, seed), grey, atol=1e-6, rtol=0)


def test_the_same_stream_moves_alike_and_another_one_does_not():
    assert torch.equal(moved("affine", seed=3), moved("affine", seed=3))
    assert not torch.equal(moved("affine", seed=3), moved("affine", seed=4))


def test_a_turn_keeps_the_shape_of_things_in_an_image_that_is_not_square():
    rows, columns = torch.arange(15.0)[:, None] - 7, torch.arange(31.0)[None] - 15
    disc = (25 - rows**2 - columns**2).div(20).clamp(0, 1)[None, None]
    for seed in range(5):
        turned = moved("affine(degrees=180.0, shift=0.0, scale=0.0)", disc, seed)
        assert float((turned - disc).abs().max()) < 0.2


def test_nothing_is_mirrored():
    # An upright L: whatever the turn, going round it from its foot to its top never changes hands.
    shape = torch.zeros(1, 1, 21, 21)
    shape[..., 4:17, 7] = shape[..., 16, 7:15] = 1.0
    mirrored = shape.flip(3)
    rows, columns = (torch.arange(21.0)[:, None].expand(21, 21), torch.arange(21.0)[None].expand(21, 21))

    def hand(image):
        """Third-order moment that changes its sign in a mirror and keeps it under turns: sum of r^3 sin(3 angle)..."""
        weight = image[0, 0] / image.sum()
        x, y = columns - (columns * weight).sum(), rows - (rows * weight).sum()
        c30, c21 = ((x + 1j * y) ** 3 * weight).sum(), ((x + 1j * y) ** 2 * (x - 1j * y) * weight).sum()
        return float((c30 * c21.conj() ** 3).imag)

    assert hand(shape) * hand(mirrored) < 0
    for seed in range(20):
        turned = moved("affine(degrees=180.0, shift=0.0, scale=0.0)", shape, seed)
        assert hand(turned) * hand(shape) > 0


@pytest.mark.parametrize(
    "spec", ["affine(degrees=181)", "affine(degrees=-1)", "affine(shift=0.6)", "affine(scale=1.0)", "affine(flip=True)"]
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        AUGMENTATIONS.create(spec)
