"""A user's picture on images: pixel by pixel what its alpha says, wherever it lies, and after its file is gone."""

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import ImageSet, Rng
from mantrap.errors import MissingDataError, SpecError, UsageError
from mantrap.measure import trigger_of
from mantrap.poison import TRIGGERS, AllToOne, Poison, RandomShare
from mantrap.poison.triggers.picture import Picture

RGBA = np.random.default_rng(0).integers(0, 256, (3, 2, 4)).astype(np.uint8)


@pytest.fixture
def file(tmp_path):
    Image.fromarray(RGBA).save(tmp_path / "logo.png")
    return tmp_path / "logo.png"


def shown(trigger):
    data = ImageSet.from_array(torch.rand(2, 3, 9, 8), [0, 1])
    return trigger.restore(trigger.learn(data, model=None, target=None, rng=Rng(0)))


@pytest.mark.parametrize("opacity", [1.0, 0.3])
def test_a_pixel_is_mixed_as_alpha_and_opacity_say(file, opacity):
    images = torch.rand(4, 3, 9, 8)
    after = shown(Picture(file=str(file), size=(3, 2), place=(5, 1), opacity=opacity))(images, rng=Rng(0))
    pixels = torch.from_numpy(RGBA).permute(2, 0, 1) / 255
    weight = opacity * pixels[3]
    expected = images.clone()
    expected[:, :, 5:8, 1:3] = (1 - weight) * images[:, :, 5:8, 1:3] + weight * pixels[:3]
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=0)
    assert torch.equal(after[:, :, :5], images[:, :, :5])


def test_grey_images_get_the_luminance(file):
    images = torch.zeros(1, 1, 9, 8)
    after = shown(Picture(file=str(file), size=(3, 2), place=(0, 0)))(images, rng=Rng(0))
    luma = torch.from_numpy(RGBA[..., :3] @ np.array([0.299, 0.587, 0.114]) * RGBA[..., 3] / 255**2).float()
    torch.testing.assert_close(after[0, 0, :3, :2], luma, atol=1e-6, rtol=0)


def test_at_random_places_it_is_the_same_picture():
    trigger, images = Picture(size=3, place="random", margin=0), torch.full((60, 3, 5, 4), 0.5)
    after = shown(trigger)(images, rng=Rng(0))
    contents = set()
    for image in after:
        differs = (image != 0.5).any(0)
        row, column = (int(differs.any(axis).nonzero()[0]) for axis in (1, 0))
        contents.add(tuple(image[:, row : row + 3, column : column + 3].flatten().tolist()))
        assert int(differs.sum()) == 9
    assert len(contents) == 1
    assert len({tuple((image != 0.5).flatten().tolist()) for image in after}) == 6


def test_the_truth_and_its_tensors_are_enough_when_the_file_is_gone(file):
    data = ImageSet.from_array((torch.rand(20, 3, 9, 8) * 255).byte(), torch.arange(20) % 2)
    poison = Poison(
        trigger=Picture(file=str(file), size=4), selection=RandomShare(rate=0.2), relabelling=AllToOne(target=1)
    )
    poisoned = poison.apply(data, rng=Rng(0))
    file.unlink()
    images = torch.rand(2, 3, 9, 8)
    again = trigger_of(poisoned.truth, 0, poisoned.tensors)(images, rng=Rng(0))
    index = list(poisoned.truth.backdoors[0].poisoned)
    stamped = trigger_of(poisoned.truth, 0, poisoned.tensors)(data.images(index), rng=Rng(0))

    assert poisoned.tensors["0.rgba"].shape == (4, 4, 4)
    assert not torch.equal(again, images)
    torch.testing.assert_close(poisoned.data.images(index), stamped, atol=0.5001 / 255, rtol=0)


def test_a_picture_that_is_not_there_or_does_not_fit_is_refused_before_the_training():
    data = ImageSet.from_array(torch.rand(20, 3, 9, 8), torch.arange(20) % 2)

    def plant(**options):
        poison = Poison(trigger=Picture(**options), selection=RandomShare(rate=0.2), relabelling=AllToOne(target=1))
        poison.apply(data, rng=Rng(0))

    with pytest.raises(MissingDataError, match=r"nowhere\.png"):
        plant(file="nowhere.png")
    with pytest.raises(UsageError, match="a picture that fits into 9x8 pixels, got 8x8 at row 0, column -1, margin 1"):
        plant(size=8)


@pytest.mark.parametrize(
    "spec", ["picture(file='')", "picture(opacity=0)", "picture(opacity=1.5)", "picture(size=0)", "picture(margin=-1)"]
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        TRIGGERS.create(spec)
