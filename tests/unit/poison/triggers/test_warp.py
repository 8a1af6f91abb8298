"""The warp of WaNet is its paper's, the same for the same seed, and as far in pixels whatever the shape."""

import pytest
import torch
from torch.nn.functional import grid_sample, interpolate

from mantrap.core import Rng
from mantrap.errors import SpecError
from mantrap.poison.triggers.warp import Warp

IMAGES = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_strength_0_changes_nothing():
    torch.testing.assert_close(Warp(strength=0.0)(IMAGES, rng=Rng(0)), IMAGES, atol=1e-6, rtol=0)


def test_on_square_images_it_is_the_papers_formula():
    """Grid from -1 to 1, plus s / h times a field of mean size 1 that is interpolated bicubically, clipped."""
    side, strength = 12, 1.5
    control = torch.rand(2, 4, 4, generator=Rng(7).child("warp").torch()) * 2 - 1
    control = control / control.abs().mean()
    field = interpolate(control[None], size=side, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    line = torch.linspace(-1, 1, side)
    identity = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    grid = (identity + strength * field / side).clamp(-1, 1).expand(2, -1, -1, -1)
    wanted = grid_sample(IMAGES, grid, align_corners=True)

    got = Warp(seed=7, strength=strength)(IMAGES, rng=Rng(0))

    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    assert float((got - IMAGES).abs().max()) > 0.1


def test_the_seed_decides_and_nothing_else_does():
    first = Warp(seed=1)(IMAGES, rng=Rng(0))
    assert torch.equal(first, Warp(seed=1)(IMAGES, rng=Rng(9)))
    assert torch.equal(first[:1], Warp(seed=1)(IMAGES[:1], rng=Rng(0)))
    assert not torch.equal(first, Warp(seed=2)(IMAGES, rng=Rng(0)))


def test_pixels_move_as_far_in_long_images_as_in_square_ones():
    square, long = Warp(seed=3).flow(200, 200), Warp(seed=3).flow(200, 800)
    torch.testing.assert_close(long[:, 1, ::199, ::799], square[:, 1, ::199, ::199])
    torch.testing.assert_close(long[:, 0, ::199, ::799], square[:, 0, ::199, ::199], rtol=0.01, atol=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_its_control_points_move_by_half_its_strength_on_average(seed):
    flow = Warp(seed=seed, strength=0.5).flow(100, 100)
    assert float(flow[:, :, ::33, ::33].abs().mean()) == pytest.approx(0.25 * 99 / 100, rel=1e-4)
    assert float(flow.abs().mean()) < 0.25


@pytest.mark.parametrize("options", [{"grid": 1}, {"strength": -0.1}])
def test_a_grid_or_strength_that_is_none_is_refused(options):
    with pytest.raises(SpecError, match=next(iter(options))):
        Warp(**options)
