import numpy as np
import pytest
import torch

from mantrap.core import ImageSet
from mantrap.data import pixels
from mantrap.data.pixels import check_request, fitted
from mantrap.errors import DataError, UsageError

GREY = np.random.default_rng(0).integers(0, 256, (5, 8, 6), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 8, 6, 3), np.uint8)


def test_what_fits_stays_as_it_is():
    images = ImageSet.from_array(GREY)
    assert fitted(images, None, None).source is images.source
    assert fitted(images, (8, 6), 1).source is images.source


def test_three_channels_repeat_grey():
    found = fitted(ImageSet.from_array(GREY, [0, 1, 2, 3, 4], class_names="abcde", name="g"), None, 3)
    assert found.shape == (3, 8, 6)
    assert all(torch.equal(found.source.read([2])[:, c], torch.from_numpy(GREY[2:3])) for c in range(3))
    assert (found.labels.tolist(), found.class_names, found.name) == ([0, 1, 2, 3, 4], tuple("abcde"), "g")


def test_one_channel_is_the_luma_for_bytes_and_for_floats():
    exact = COLOUR @ np.array([0.299, 0.587, 0.114])
    as_bytes = fitted(ImageSet.from_array(COLOUR), None, 1).source.read([0, 4])
    assert as_bytes.dtype == torch.uint8
    assert np.abs(as_bytes[:, 0].numpy() - exact[[0, 4]]).max() <= 0.51
    as_floats = fitted(ImageSet.from_array((COLOUR / 255).astype(np.float32)), None, 1).images()
    assert np.abs(as_floats[:, 0].numpy() - exact / 255).max() <= 1e-5


@pytest.mark.parametrize("array", [GREY, COLOUR, (GREY / 255).astype(np.float32), (COLOUR / 255).astype(np.float32)])
def test_a_flat_image_stays_flat_at_any_size(array):
    flat = np.empty_like(array)
    flat[:] = array[:, :1, :1]
    found = fitted(ImageSet.from_array(flat), (5, 13), None)
    assert found.shape[1:] == (5, 13)
    wanted = ImageSet.from_array(flat).images()[:, :, :1, :1].expand(-1, -1, 5, 13)
    assert torch.allclose(found.images(), wanted, atol=1e-6)


def test_shrinking_averages_and_does_not_skip():
    board = np.indices((16, 16)).sum(0) % 2 * 255
    found = fitted(ImageSet.from_array(board.astype(np.uint8)[None]), (4, 4), None).images()
    assert 0.4 < found.min() <= found.max() < 0.6


def test_a_large_set_is_read_as_it_is_needed(monkeypatch):
    images = ImageSet.from_array(GREY)
    monkeypatch.setattr(pixels, "IN_MEMORY", 10)
    lazy = fitted(images, (4, 4), 3)
    monkeypatch.setattr(pixels, "IN_MEMORY", 10**6)
    read = fitted(images, (4, 4), 3)
    assert type(lazy.source) is not type(read.source)
    assert lazy.digest() == read.digest()


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (5000, 4)])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(UsageError, match="--resize"):
        check_request(size, None)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channels_are_refused(channels):
    with pytest.raises(UsageError, match=r"1 or 3 in --channels, got"):
        check_request(None, channels)


def test_five_channels_cannot_become_three():
    with pytest.raises(DataError, match="1 or 3 channels in images, got 5"):
        fitted(ImageSet.from_array(torch.zeros(2, 5, 4, 4)), None, 3)
