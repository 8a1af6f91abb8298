"""Warping: nothing for no flow, an exact shift for a constant one, and a smooth field through its control vectors."""

import pytest
import torch

from mantrap.ops.warp import smooth_field, through, warp

IMAGES = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))


def constant(right, down, shape=(6, 9)):
    return torch.tensor([float(right), float(down)]).view(1, 2, 1, 1).expand(1, 2, *shape)


def test_no_flow_changes_nothing():
    torch.testing.assert_close(warp(IMAGES, constant(0, 0)), IMAGES, atol=1e-6, rtol=0)


def test_a_constant_flow_shifts_pixels_and_repeats_the_edge():
    shifted = warp(IMAGES, constant(2, -1))
    torch.testing.assert_close(shifted[:, :, 1:, :-2], IMAGES[:, :, :-1, 2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(shifted[:, :, 1:, -2:], IMAGES[:, :, :-1, -1:].expand(-1, -1, -1, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(shifted[:, :, 0], shifted[:, :, 1], atol=1e-5, rtol=0)


def test_half_a_pixel_is_the_mean_of_two():
    between = warp(IMAGES, constant(0, 0.5))
    torch.testing.assert_close(between[:, :, :-1], (IMAGES[:, :, :-1] + IMAGES[:, :, 1:]) / 2, atol=1e-5, rtol=0)


def test_each_image_may_have_a_flow_of_its_own():
    both = warp(IMAGES, torch.cat([constant(1, 0), constant(0, 1)]))
    for number, alone in enumerate((constant(1, 0), constant(0, 1))):
        torch.testing.assert_close(both[number], warp(IMAGES, alone)[number], atol=1e-6, rtol=0)


def test_an_image_of_one_row_can_be_warped():
    row = IMAGES[:, :, :1]
    torch.testing.assert_close(warp(row, constant(1, 3, (1, 9)))[..., :-1], row[..., 1:], atol=1e-5, rtol=0)


def test_the_field_runs_through_its_control_vectors_from_corner_to_corner():
    control = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1))
    field = smooth_field(control, 7, 11)
    wanted = control / control.abs().mean()
    assert field.shape == (1, 2, 7, 11)
    torch.testing.assert_close(field[0][:, ::3, ::5], wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(smooth_field(4 * control, 7, 11), field)


def test_fields_run_through_vectors_of_any_size_from_corner_to_corner():
    control = 5 * torch.randn(4, 2, 3, 4, generator=torch.Generator().manual_seed(3))
    fields = through(control, 5, 10)
    assert fields.shape == (4, 2, 5, 10)
    torch.testing.assert_close(fields[..., ::2, ::3], control, atol=1e-5, rtol=0)


def test_between_equal_vectors_a_field_is_the_same_and_between_others_smooth():
    torch.testing.assert_close(through(torch.full((1, 2, 4, 4), 0.7), 9, 12), torch.full((1, 2, 9, 12), 0.7))
    bent = through(torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).expand(1, 2, 7, 7), 7, 61)[0, 0, 0]
    assert float(bent.min()) < -0.01  # bicubic, not bilinear
    assert float(bent.diff().diff().abs().max()) < 0.06


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_plain_image_stays_plain_whatever_the_flow(level):
    flow = 20 * torch.randn(1, 2, 6, 9, generator=torch.Generator().manual_seed(2))
    assert torch.equal(warp(torch.full((1, 1, 6, 9), level), flow), torch.full((1, 1, 6, 9), level))
