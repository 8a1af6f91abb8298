import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mantrap.core import spec_of
from mantrap.data import NAMED, Signs, load
from mantrap.data.signs import Album
from mantrap.data.signs.catalogue import CATALOGUE
from mantrap.data.signs.drawing import draw
from mantrap.errors import SpecError


def test_an_image_depends_on_its_number_alone():
    many = Signs(classes=5, size=16, train=40, test=9).load("train")
    few = Signs(classes=5, size=16, train=8, test=1).load("train")
    assert many.content_hashes[:8] == few.content_hashes
    alone = Album(Signs(classes=5, size=16, train=40), "train", 40).read([7, 3])
    assert torch.equal(alone, many.source.read([7, 3]))


def test_another_process_makes_the_same_images():
    program = "from mantrap.data import load; print(load('signs(classes=3, size=16, test=6)').digest())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == load("signs(classes=3, size=16, test=6)").digest()


def test_seed_and_split_make_other_worlds():
    sets = [Signs(size=16, seed=seed, test=20, train=20).load(part) for seed in (0, 1) for part in ("train", "test")]
    hashes = [h for images in sets for h in images.content_hashes]
    assert len(set(hashes)) == 80


def test_classes_are_equally_many_and_have_names():
    images = Signs(classes=7, size=16, test=70).load("test")
    assert torch.bincount(images.labels).tolist() == [10] * 7
    assert images.class_names == tuple(sign.name for sign in CATALOGUE[:7])
    assert images.num_classes == 7


@pytest.mark.parametrize("size", [16, 33, 100, 224])
def test_any_size(size):
    images = Signs(classes=43, size=size, test=43).load("test").images([0, 42])
    assert images.shape == (2, 3, size, size)
    assert images.std() > 0.05


def test_a_set_too_large_to_keep_is_made_as_it_is_read(monkeypatch):
    kept = Album(Signs(size=16, test=4), "test", 4)
    monkeypatch.setattr("mantrap.data.signs.IN_MEMORY", 10)
    fresh = Album(Signs(size=16, test=4), "test", 4)
    assert fresh._kept is None
    assert torch.equal(kept.read(range(4)), fresh.read(range(4)))
    assert fresh.read([]).shape == (0, 3, 16, 16)


def test_only_what_is_read_is_made():
    album = Album(Signs(size=16, test=50), "test", 50)
    album.read([3, 4])
    assert album._made.nonzero()[0].tolist() == [3, 4]


def test_the_forty_three_signs_differ():
    assert len(CATALOGUE) == 43
    assert len({sign.name for sign in CATALOGUE}) == 43
    drawn = np.stack([np.asarray(draw(sign.marks, 32).convert("RGB"), float) for sign in CATALOGUE])
    apart = np.abs(drawn[:, None] - drawn[None]).mean((2, 3, 4)) + 99 * np.eye(43)
    assert apart.min() > 1


@pytest.mark.parametrize("option", ["classes=1", "classes=44", "size=15", "size=225", "seed=-1", "train=0", "test=0"])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(SpecError, match=f"signs.{option.split('=')[0]}"):
        NAMED.create(f"signs({option})")


def test_the_spec_round_trips():
    assert NAMED.create(str(spec_of(Signs(classes=4, seed=9)))) == Signs(classes=4, seed=9)


def fitted(model: nn.Module, signs: Signs, *, epochs: int, batch: int) -> float:
    """Share of the test images that a model gets right after training."""
    train, test = signs.load("train"), signs.load("test")
    images, labels = train.images(), train.labels
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    shuffle = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for index in torch.randperm(len(train), generator=shuffle).split(batch):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
            optimiser.step()
    with torch.no_grad():
        return (model(test.images()).argmax(1) == test.labels).float().mean().item()


def test_pixels_tell_the_classes_apart_but_not_by_a_weighted_sum():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))
    assert 0.3 < fitted(model, Signs(size=16, train=1000, test=300), epochs=12, batch=100) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_network_is_right_on_95_to_99_percent(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 128), nn.ReLU(), nn.Linear(128, 10)),
    )
    assert 0.95 <= fitted(model, Signs(seed=seed), epochs=8, batch=64) <= 0.99
