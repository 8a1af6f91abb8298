"""A picture keeps its colours and its transparency at any size, and a broken one is one clear error."""

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.errors import DataError, MissingDataError, UsageError
from mantrap.poison.triggers.artwork import artwork, in_channels


@pytest.fixture
def logo(tmp_path):
    """An 8x8 picture: its left half is orange, its right half transparent black."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (255, 128, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "logo.png")
    return str(tmp_path / "logo.png")


def test_a_file_at_its_own_size_is_what_it_holds(logo):
    pixels = artwork(logo, (8, 8))
    assert pixels.shape == (4, 8, 8)
    assert pixels[:, 5, 1].tolist() == pytest.approx([1, 128 / 255, 0, 1])
    assert pixels[:, 5, 6].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("size", [(3, 3), (5, 7), (20, 11)], ids=str)
def test_what_is_transparent_does_not_darken_the_rim(logo, size):
    pixels = artwork(logo, size)
    seen = pixels[3] > 0.02
    assert pixels.shape == (4, *size)
    assert bool((pixels[0][seen] > 0.9).all())
    assert float(pixels[3].mean()) == pytest.approx(0.5, abs=0.02)


def test_a_file_without_alpha_hides_all(tmp_path):
    Image.fromarray(np.full((4, 4, 3), 51, np.uint8)).save(tmp_path / "photo.jpg", quality=100)
    pixels = artwork(str(tmp_path / "photo.jpg"), (6, 6))
    assert float(pixels[3].min()) == 1.0
    assert float((pixels[:3] - 0.2).abs().max()) < 0.01


def test_the_cartoon_hides_all_and_has_a_left_and_a_right_side_alike():
    pixels = artwork("cartoon", (32, 32))
    assert float(pixels[3].min()) == 1.0
    assert len({tuple(colour) for colour in (pixels[:3].flatten(1).T * 7).round().tolist()}) > 5
    assert float((pixels - pixels.flip(2)).abs().mean()) < 0.02
    assert artwork("cartoon", (9, 30)).shape == (4, 9, 30)


def test_the_cartoon_at_two_sizes_is_the_same_picture():
    large = torch.nn.functional.avg_pool2d(artwork("cartoon", (64, 64)), 4)
    assert float((large - artwork("cartoon", (16, 16))).abs().mean()) < 0.02


def test_grey_images_get_the_luminance():
    colour = torch.rand(3, 4, 5)
    grey = in_channels(colour, 1)
    assert grey.shape == (1, 4, 5)
    torch.testing.assert_close(grey[0], 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])
    assert torch.equal(in_channels(colour, 3), colour)
    assert float(in_channels(torch.ones(3, 1, 1), 1)) == pytest.approx(1.0)


def test_images_of_other_channels_are_refused():
    with pytest.raises(UsageError, match="images of 1 or 3 channels for a picture, got 4 channels"):
        in_channels(torch.rand(3, 4, 5), 4)


def test_what_is_no_picture_is_one_error(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "glass.png")
    with pytest.raises(DataError, match=r"a whole image .* in .*broken\.png"):
        artwork(str(tmp_path / "broken.png"), (8, 8))
    with pytest.raises(DataError, match=r"a whole image"):
        artwork(str(tmp_path), (8, 8))
    with pytest.raises(DataError, match=r"glass\.png at 8x8 pixels, got a picture that is transparent everywhere"):
        artwork(str(tmp_path / "glass.png"), (8, 8))
    with pytest.raises(MissingDataError, match=r"the image .*none\.png, got no such file"):
        artwork(str(tmp_path / "none.png"), (8, 8))
