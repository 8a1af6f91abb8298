"""The patch of BadNets: where it lies, what it shows, and when it is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import TRIGGERS, Patch

GREY = torch.full((2, 3, 10, 8), 0.5)


def changed(images, patch):
    """Row and column slices of the rectangle that differs, the same in every image and channel."""
    differs = patch(images, rng=Rng(0)) != images
    assert bool((differs == differs[:1, :1]).all())
    rows, columns = (differs[0, 0].any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    assert bool(differs[0, 0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all())
    return (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ("bottom_right", (7, 9), (4, 7)),
        ("bottom_left", (7, 9), (1, 4)),
        ("top_right", (1, 3), (4, 7)),
        ("top_left", (1, 3), (1, 4)),
        ("center", (4, 6), (2, 5)),
        ((5, 0), (5, 7), (0, 3)),
        ((8, 5), (8, 10), (5, 8)),
    ],
)
def test_every_place_with_height_and_width_apart(place, rows, columns):
    assert changed(GREY, Patch(size=(2, 3), place=place)) == (rows, columns)


@pytest.mark.parametrize(("margin", "rows", "columns"), [(0, (8, 10), (6, 8)), (3, (5, 7), (3, 5))])
def test_the_margin_is_kept_to_both_edges_of_the_corner(margin, rows, columns):
    assert changed(GREY, Patch(size=2, margin=margin)) == (rows, columns)


def test_the_default_is_neural_cleanses_white_square():
    stamped = Patch()(torch.zeros(1, 1, 28, 28), rng=Rng(0))
    assert float(stamped[0, 0, 23:27, 23:27].min()) == 1.0
    assert float(stamped.sum()) == 16.0


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ("white", (1, 1, 1)),
        ("black", (0, 0, 0)),
        (0.25, (0.25, 0.25, 0.25)),
        ((1.0, 0.0, 0.5), (1, 0, 0.5)),
        ((0.0, 0.0, 0.0), (0, 0, 0)),
    ],
    ids=str,
)
def test_the_colour_is_stamped_as_it_is_also_where_it_is_black(colour, expected):
    stamped = Patch(size=2, margin=0, colour=colour)(GREY, rng=Rng(0))
    assert stamped[0, :, 9, 7].tolist() == list(map(float, expected))
    assert torch.equal(stamped[:, :, :8], GREY[:, :, :8])


def test_the_mask_says_where_the_patch_is_not_where_its_colour_is_not_zero():
    mask, pattern = Patch(size=2, margin=0, place="top_left", colour="black").mask_and_pattern((3, 10, 8))
    assert mask.shape == (10, 8)
    assert pattern.shape == (3, 10, 8)
    assert (float(mask.sum()), float(mask[:2, :2].sum())) == (4.0, 4.0)
    assert float(pattern.abs().sum()) == 0.0


def places(images, patch, *, seed=0):
    """Row and column of the patch's upper left pixel in each image."""
    found = []
    for before, after in zip(images, patch(images, rng=Rng(seed)), strict=True):
        differs = (after != before).all(0)
        rows, columns = (differs.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        assert bool(((after != before).any(0) == differs).all())
        assert (len(rows), len(columns)) == (patch.height, patch.width)
        assert int(differs.sum()) == patch.height * patch.width
        found.append((rows[0], columns[0]))
    return found


@pytest.mark.parametrize(("margin", "rows", "columns"), [(0, range(9), range(6)), (2, range(2, 7), range(2, 4))])
def test_a_random_place_is_each_images_own_anywhere_where_the_patch_fits(margin, rows, columns):
    patch = Patch(size=(2, 3), place="random", margin=margin)
    found = places(torch.full((600, 3, 10, 8), 0.5), patch)
    assert set(found) == {(row, column) for row in rows for column in columns}


def test_random_places_come_from_the_stream():
    patch, grey = Patch(size=1, place="random"), torch.full((20, 1, 30, 30), 0.5)
    assert places(grey, patch, seed=3) == places(grey, patch, seed=3) != places(grey, patch, seed=4)


def test_a_random_place_must_exist():
    with pytest.raises(UsageError, match="a patch that fits into 10x8 pixels, got 9x2 at row 1, column 1, margin 1"):
        Patch(size=(9, 2), place="random")(GREY, rng=Rng(0))


def test_a_patch_without_a_place_has_no_mask_for_all_images():
    with pytest.raises(UsageError, match="the same place in every image, got place='random'"):
        Patch(place="random").mask_and_pattern((3, 10, 8))


CIRCLES = {
    (1, 1): ["#"],
    (3, 3): ["###", "###", "###"],
    (4, 4): [".##.", "####", "####", ".##."],
    (5, 5): [".###.", "#####", "#####", "#####", ".###."],
    (3, 9): [".#######.", "#########", ".#######."],
    (7, 7): ["..###..", ".#####.", "#######", "#######", "#######", ".#####.", "..###.."],
}


@pytest.mark.parametrize("size", CIRCLES, ids=str)
def test_a_circle_has_the_pixels_with_their_centres_inside(size):
    images = torch.full((2, 1, 12, 12), 0.5)
    stamped = Patch(size=size, shape="circle", colour="black", place=(3, 2))(images, rng=Rng(0))
    height, width = size
    expected = torch.tensor([[pixel == "#" for pixel in row] for row in CIRCLES[size]])
    assert torch.equal(stamped[1, 0, 3 : 3 + height, 2 : 2 + width] == 0, expected)
    assert int((stamped != images).sum()) == 2 * int(expected.sum())


def test_the_images_that_come_in_are_untouched():
    before = GREY.clone()
    Patch()(GREY, rng=Rng(0))
    assert torch.equal(GREY, before)


@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    margin=st.integers(0, 3),
    place=st.sampled_from(["bottom_right", "bottom_left", "top_right", "top_left", "center"]),
)
def test_a_patch_is_stamped_whole_or_refused(height, width, margin, place):
    patch = Patch(size=(height, width), margin=margin, place=place)
    room = 0 if place == "center" else margin
    if height + room > 5 or width + room > 6:
        with pytest.raises(UsageError, match="a patch that fits into 5x6 pixels"):
            patch.mask_and_pattern((1, 5, 6))
    else:
        mask, _ = patch.mask_and_pattern((1, 5, 6))
        assert float(mask.sum()) == height * width


@pytest.mark.parametrize("place", [(9, 0), (0, 7), (10, 8)])
def test_a_place_of_ones_own_must_lie_inside(place):
    with pytest.raises(UsageError, match=r"2x2 at row \d+, column \d+"):
        Patch(size=2, place=place)(GREY, rng=Rng(0))


def test_a_colour_for_each_channel_needs_as_many_channels():
    with pytest.raises(UsageError, match="a colour of 1 or 1 values for images of 1 channels"):
        Patch(size=2, colour=(1.0, 0.0, 0.0))(GREY[:, :1], rng=Rng(0))


@pytest.mark.parametrize(
    "spec",
    [
        "patch(size=0)",
        "patch(size=(3, 0))",
        "patch(size='big')",
        "patch(margin=-1)",
        "patch(place='middle')",
        "patch(shape='star')",
        "patch(place=(-1, 2))",
        "patch(colour='red')",
        "patch(colour=1.5)",
        "patch(colour=(0.0, 0.5, 2.0))",
    ],
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        TRIGGERS.create(spec)
