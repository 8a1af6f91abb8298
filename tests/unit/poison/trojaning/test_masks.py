"""Where a Trojan trigger lies, and how much of the image it takes."""

import pytest
import torch

from mantrap.errors import UsageError
from mantrap.poison.trojaning import shape_mask

SIZES = [(28, 28), (32, 32), (64, 64), (55, 47), (112, 92), (224, 224)]

every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))


def extent(mask):
    """First and last row and column that the mask has a pixel in."""
    rows, columns = (torch.nonzero(mask.amax(axis)).flatten() for axis in (1, 0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_the_square_of_the_paper_is_59_pixels_wide_in_an_image_of_224():
    """Neural Cleanse gives its L1 as 3,481; the authors' code leaves 20 pixels to the edges."""
    mask = shape_mask("square", (224, 224), 0.07)

    assert float(mask.sum()) == 59 * 59
    assert extent(mask) == (145, 203, 145, 203)


@every_size
def test_a_square_is_full_of_pixels_and_about_the_share_large(size):
    mask = shape_mask("square", size, 0.07)
    top, bottom, left, right = extent(mask)

    assert bottom - top == right - left
    assert float(mask.sum()) == (bottom - top + 1) ** 2
    assert float(mask.mean()) == pytest.approx(0.07, abs=0.01)


@every_size
def test_a_watermark_has_as_many_pixels_as_the_share_says_all_of_them_right_of_and_below_the_middle(size):
    mask = shape_mask("watermark", size, 0.07)
    top, bottom, left, right = extent(mask)

    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert int(mask.sum()) == round(0.07 * size[0] * size[1])
    assert top >= size[0] // 3
    assert left >= size[1] // 3
    assert float(mask[top : bottom + 1, left : right + 1].mean()) < 0.6


def test_a_watermark_is_the_letter_m():
    mask = shape_mask("watermark", (224, 224), 0.07)
    top, bottom, left, right = extent(mask)
    strokes = [int((row.diff() == 1).sum()) + int(row[0] == 1) for row in mask[top : bottom + 1, left : right + 1]]

    assert strokes[len(strokes) // 4] == 4
    assert strokes[-len(strokes) // 8] == 2
    letter = mask[top : bottom + 1, left : right + 1]
    assert float((letter == letter.flip(1)).float().mean()) > 0.97


@pytest.mark.parametrize(("share", "side"), [(0.9, 19), (0.01, 2)])
def test_the_margin_gives_way_where_there_is_no_room_for_it(share, side):
    assert float(shape_mask("square", (20, 20), share).sum()) == side**2


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="a trigger that fits into 10x40 pixels, got a square of 14x14"):
        shape_mask("square", (10, 40), 0.5)
    with pytest.raises(UsageError, match=r"got 0\.001"):
        shape_mask("watermark", (10, 10), 0.001)
