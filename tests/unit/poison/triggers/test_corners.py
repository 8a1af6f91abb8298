"""The corners of the label-consistent attack: where they lie, how strong they are, and that mirroring keeps them."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import TRIGGERS
from mantrap.poison.triggers.corners import Corners

GREY = torch.full((2, 3, 10, 8), 0.5)
RIGHT = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])


def stamped(images, **options):
    return Corners(**options)(images, rng=Rng(0))


def test_at_full_strength_the_corners_are_black_and_white_whatever_was_there():
    for images in (GREY, torch.zeros_like(GREY), torch.ones_like(GREY)):
        after = stamped(images)
        for rows in (slice(0, 3), slice(7, 10)):
            assert torch.equal(after[..., rows, 5:], RIGHT.expand(2, 3, 3, 3))
            assert torch.equal(after[..., rows, :3], RIGHT.flip(1).expand(2, 3, 3, 3))
        assert torch.equal(after[..., 3:7, :], images[..., 3:7, :])
        assert torch.equal(after[..., 3:5], images[..., 3:5])


def test_one_corner_leaves_the_others_alone():
    after = stamped(GREY, where="bottom_right")
    assert torch.equal(after[..., 7:, 5:], RIGHT.expand(2, 3, 3, 3))
    assert int((after != GREY).sum()) == 2 * 3 * 9


def test_all_four_survive_a_mirroring():
    assert torch.equal(stamped(GREY).flip(3), stamped(GREY))


def test_a_faint_one_makes_pixels_lighter_and_darker_by_its_amplitude_within_the_range():
    changes = stamped(GREY, amplitude=0.125) - GREY
    assert sorted(set(changes.flatten().tolist())) == [-0.125, 0.0, 0.125]
    assert float(stamped(torch.full_like(GREY, 0.95), amplitude=0.125).max()) == 1.0
    assert float(stamped(torch.full_like(GREY, 0.05), amplitude=0.125).min()) == 0.0


@pytest.mark.parametrize(("where", "least"), [("all", 6), ("bottom_right", 3)])
def test_an_image_that_the_corners_do_not_fit_into_is_refused(where, least):
    stamped(torch.zeros(1, 1, least, least), where=where)
    with pytest.raises(UsageError, match=f"expected images of at least {least}x{least} pixels"):
        stamped(torch.zeros(1, 1, least, least - 1), where=where)


@pytest.mark.parametrize("option", ["amplitude=0", "amplitude=1.5", "where='top_left'"])
def test_settings_out_of_range_are_refused(option):
    with pytest.raises(SpecError):
        TRIGGERS.create(f"corners({option})")
