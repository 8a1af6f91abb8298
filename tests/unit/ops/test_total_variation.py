"""Denoising against minima that are known in closed form."""

import pytest
import torch

from mantrap.ops.total_variation import denoise


def variation(images):
    """The isotropic total variation of each image, written down anew."""
    down, right = torch.zeros_like(images), torch.zeros_like(images)
    down[..., :-1, :] = images.diff(dim=-2)
    right[..., :-1] = images.diff(dim=-1)
    return (down.square() + right.square()).sqrt().flatten(1).sum(1)


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_two_halves_move_towards_each_other_by_the_weight_over_their_width():
    """With a jump of height j over h rows the energy is n a^2 / 2 + m b^2 / 2 + weight (j - a - b) for each row."""
    images = torch.cat([torch.full((1, 1, 4, 2), 0.2), torch.full((1, 1, 4, 6), 0.8)], dim=3)
    smooth = denoise(images, 0.06, steps=3000)
    expected = torch.cat([torch.full((1, 1, 4, 2), 0.2 + 0.03), torch.full((1, 1, 4, 6), 0.8 - 0.01)], dim=3)
    torch.testing.assert_close(smooth, expected, atol=1e-3, rtol=0)


def test_rows_are_treated_as_columns_are():
    images = noise(2, 3, 5, 8)
    torch.testing.assert_close(denoise(images.mT.contiguous(), 0.1), denoise(images, 0.1).mT.contiguous())


def test_the_energy_falls_and_a_large_weight_leaves_one_grey_for_each_channel():
    images = noise(2, 3, 6, 7)
    smooth = denoise(images, 0.2, steps=200)
    flat = denoise(images, 10.0, steps=3000)

    before, after = 0.2 * variation(images), (smooth - images).square().flatten(1).sum(1) / 2 + 0.2 * variation(smooth)
    assert bool((after < before).all())
    torch.testing.assert_close(flat, images.mean((2, 3), keepdim=True).expand_as(images), atol=1e-3, rtol=0)


def test_no_weight_changes_nothing_and_the_images_that_come_in_stay():
    images = noise(1, 1, 4, 4)
    before = images.clone()
    denoise(images, 0.5)

    assert torch.equal(images, before)
    assert torch.equal(denoise(images, 0.0), images)


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (1, 1, 1, 1), (1, 2, 1, 5)])
def test_any_size_of_batch_and_image(shape):
    assert denoise(torch.rand(shape), 0.1).shape == shape
