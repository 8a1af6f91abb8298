"""Pictures in a record decode back to the pixels that they stand for."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import ReversedPatch, ReversedPerturbation, ReversedWarp
from mantrap.workflow.pictures import mask_picture, picture, pictures_of, trigger_picture

GENERATOR = torch.Generator().manual_seed(0)
GREY, COLOUR, OTHER = (torch.rand(channels, 4, 5, generator=GENERATOR) for channels in (1, 3, 4))
MASK = torch.rand(4, 5, generator=GENERATOR)


def decoded(shown, mode, size=(5, 4)):
    image = Image.open(io.BytesIO(base64.b64decode(shown.png)))
    assert (image.format, image.mode) == ("PNG", mode)
    assert image.size == (shown.width, shown.height) == size
    return np.asarray(image)


def in_bytes(values):
    return np.rint(values.numpy() * 255).astype(np.uint8)


def test_one_channel_is_grey():
    assert np.array_equal(decoded(picture(GREY, "a"), "L"), in_bytes(GREY[0]))


def test_three_channels_are_colour():
    assert np.array_equal(decoded(picture(COLOUR, "a"), "RGB"), in_bytes(COLOUR.permute(1, 2, 0)))


def test_any_other_number_of_channels_is_shown_as_its_mean():
    assert np.array_equal(decoded(picture(OTHER, "a"), "L"), in_bytes(OTHER.mean(0)))


def test_a_mask_is_white_where_the_trigger_is():
    assert np.array_equal(decoded(mask_picture(MASK, "a"), "L"), in_bytes(MASK))


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [(COLOUR, COLOUR), (GREY, GREY.expand(3, -1, -1)), (OTHER, OTHER.mean(0).expand(3, -1, -1))],
    ids=["colour", "grey", "other"],
)
def test_a_trigger_is_as_opaque_as_its_mask(pattern, shown):
    pixels = decoded(trigger_picture(MASK, pattern, "a"), "RGBA")
    assert np.array_equal(pixels[..., :3], in_bytes(shown.permute(1, 2, 0)))
    assert np.array_equal(pixels[..., 3], in_bytes(MASK))


def test_values_out_of_range_are_cut_off():
    # The search's change of variables ends a hair outside of [0, 1].
    assert np.array_equal(decoded(picture(torch.full((1, 4, 5), 1.0 + 1e-6), "a"), "L"), np.full((4, 5), 255))
    assert np.array_equal(decoded(picture(torch.full((1, 4, 5), -1e-6), "a"), "L"), np.zeros((4, 5)))


def test_the_sentence_goes_with_the_picture_and_the_same_pixels_give_the_same_bytes():
    assert picture(GREY, "what it is").alt == "what it is"
    assert picture(GREY, "a") == picture(GREY.clone(), "a")


def test_a_patch_is_shown_by_mask_pattern_and_both_and_each_says_what_it_is_for():
    shown = pictures_of(ReversedPatch(7, MASK, COLOUR), "label 7")

    assert list(shown) == ["mask", "pattern", "trigger"]
    assert np.array_equal(decoded(shown["mask"], "L"), in_bytes(MASK))
    assert np.array_equal(decoded(shown["pattern"], "RGB"), in_bytes(COLOUR.permute(1, 2, 0)))
    assert np.array_equal(decoded(shown["trigger"], "RGBA")[..., 3], in_bytes(MASK))
    assert all("label 7" in one.alt for one in shown.values())


def test_a_perturbation_is_shown_by_where_how_and_how_strongly_pixels_change():
    delta = 0.2 * (COLOUR - 0.5)
    shown = pictures_of(ReversedPerturbation(7, delta), "label 7")
    strongest = delta.abs().max()

    assert list(shown) == ["mask", "pattern", "trigger"]
    assert np.array_equal(decoded(shown["mask"], "L"), in_bytes(delta.abs().amax(0) / strongest))
    assert np.array_equal(decoded(shown["pattern"], "RGB"), in_bytes((0.5 + delta / strongest / 2).permute(1, 2, 0)))
    assert np.array_equal(decoded(shown["trigger"], "RGB"), in_bytes((0.5 + delta / 2).permute(1, 2, 0)))
    assert all("label 7" in one.alt for one in shown.values())


def test_no_change_at_all_is_grey_on_grey():
    shown = pictures_of(ReversedPerturbation(7, torch.zeros(1, 4, 5)), "label 7")

    assert (decoded(shown["mask"], "L").max(), set(decoded(shown["pattern"], "L").flatten())) == (0, {128})


FLOW = torch.stack([torch.linspace(-0.3, 0.3, 20), torch.linspace(0.5, 0.1, 20)]).view(2, 4, 5)
LARGE = (8 * 5, 8 * 4)


def bent(flow):
    """What becomes of straight lines, as a grey picture."""
    return decoded(pictures_of(ReversedWarp(7, flow), "label 7")["trigger"], "L", LARGE)


def lines(height, width):
    """Lines one pixel wide, one every four pixels of an image that is shown eight times as large."""
    shown = np.zeros((8 * height, 8 * width), np.uint8)
    shown[4::32], shown[:, 4::32] = 255, 255
    return shown


def test_a_warp_is_shown_by_how_far_and_which_way_pixels_move_as_strongly_as_can_be_shown():
    shown = pictures_of(ReversedWarp(7, FLOW), "label 7")
    far = (FLOW[0] ** 2 + FLOW[1] ** 2).sqrt()
    right, down = 0.5 + 0.5 * FLOW / far.max()

    assert list(shown) == ["mask", "pattern", "trigger"]
    assert np.array_equal(decoded(shown["mask"], "L"), in_bytes(far / far.max()))
    assert np.array_equal(decoded(shown["pattern"], "RGB"), in_bytes(torch.stack([right, down, 1 - right], -1)))
    assert (shown["trigger"].width, shown["trigger"].height) == LARGE


def test_each_picture_of_a_warp_says_what_it_is_and_what_for():
    shown = pictures_of(ReversedWarp(7, FLOW), "label 7")

    assert {name: one.alt for name, one in shown.items()} == {
        "mask": "Warp for label 7: white where pixels move most.",
        "pattern": "Warp for label 7: colours say which way.",
        "trigger": "Straight lines under the warp for label 7.",
    }


def test_pixels_that_come_from_the_right_are_orange_from_the_left_blue_from_below_green_from_above_purple():
    flow = torch.zeros(2, 4, 5)
    flow[:, 0, :4] = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    pattern = decoded(pictures_of(ReversedWarp(7, flow), "label 7")["pattern"], "RGB")

    assert pattern[0].tolist() == [[255, 128, 0], [0, 128, 255], [128, 255, 128], [128, 0, 128], [128, 128, 128]]


def test_no_warp_leaves_lines_straight_and_everything_else_grey_or_black():
    shown = pictures_of(ReversedWarp(7, torch.zeros(2, 4, 5)), "label 7")

    assert (decoded(shown["mask"], "L").max(), set(decoded(shown["pattern"], "RGB").flatten())) == (0, {128})
    assert np.array_equal(bent(torch.zeros(2, 4, 5)), lines(4, 5))


@pytest.mark.parametrize(("right", "down"), [(0.5, 0.0), (0.0, -0.25), (-0.125, 0.25)])
def test_a_warp_that_moves_all_pixels_alike_moves_lines_by_eight_times_as_much(right, down):
    flow = torch.tensor([right, down])[:, None, None].expand(2, 4, 5)
    across, along = round(8 * right), round(8 * down)
    moved = np.roll(lines(4, 5), (-along, -across), (0, 1))

    assert np.array_equal(bent(flow)[4:-4, 4:-4], moved[4:-4, 4:-4])


def test_a_warp_that_grows_bends_lines_by_as_much_as_there_is_at_each_place():
    flow = torch.zeros(2, 4, 5)
    flow[0] = torch.tensor([0.0, 0.0, 0.25, 0.25])[:, None]
    shown = bent(flow)

    # The line in column 36 stays there at the top, and goes one to the left half way down, and two below.
    assert [20 + int(shown[row, 20:].argmax()) for row in (0, 15, 30)] == [36, 35, 34]
