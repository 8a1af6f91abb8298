"""The largest margins, on networks whose margins are known in closed form."""

import dataclasses

import pytest
import torch
from torch import nn

from mantrap.core import Cost, Rng
from mantrap.detect import MMBD
from mantrap.errors import SpecError
from mantrap.models import wrap
from tests.planted import Planted

SHAPE = (1, 4, 4)
LARGEST = [4.0, 5.0, 6.0, 5.5, 4.5, 5.2]


class Boxes(nn.Module):
    """The logit of class k is ``scale_k`` times the mean of the pixels of its own row, from -1 to 1.

    The largest margin of a class has its own row white and all others black: ``scale_k + min`` of the other scales.
    """

    def __init__(self, scales):
        super().__init__()
        self.register_buffer("scales", torch.tensor(scales))

    def forward(self, images):
        return self.scales * (2 * images.flatten(1, 2).mean(2) - 1)


def model(scales):
    return wrap(Boxes(scales), input_shape=(1, len(scales), 4))


def margin(scales, label):
    return scales[label] + min(s for k, s in enumerate(scales) if k != label)


def scan(scales, settings=None, **keywords):
    settings = settings or MMBD(steps=80, precision="float32")
    images = Planted(shape=(1, len(scales), 4)).images(1, "unused")
    return settings.detect(model(scales), images, heldout=images, rng=Rng(0), **keywords)


def test_the_margins_are_the_largest_there_are():
    found = scan(LARGEST)

    assert list(found.traits) == ["margin"]
    assert list(found.traits["margin"]) == list(range(6))
    for label, value in found.traits["margin"].items():
        assert value == pytest.approx(margin(LARGEST, label), rel=1e-3)
    assert (found.labels, found.triggers) == ((), ())
    assert found.cost == Cost(6 * 4 * 80, 6 * 4 * 80)


def test_a_label_that_is_driven_far_higher_is_a_suspect():
    ordinary, infected = scan(LARGEST), scan([*LARGEST, 40.0])

    assert ordinary.suspects == ()
    assert ordinary.p_value > 0.05
    assert infected.suspects == (6,)
    assert infected.p_value < 0.05
    assert infected.score > ordinary.score
    assert max(infected.indices, key=infected.indices.get) == 6
    assert infected.indices[6] > 2


def test_three_labels_are_too_few_to_say():
    found = scan([4.0, 5.0, 60.0])

    assert (found.p_value, found.score, found.suspects) == (None, None, ())
    assert found.notes == ("Fewer than 4 labels have a margin to compare.",)


def test_a_label_that_no_image_reaches_is_not_compared():
    class Never(Boxes):
        def forward(self, images):
            return torch.cat([super().forward(images), torch.full((len(images), 1), -50.0)], dim=1)

    images = Planted(shape=(1, 6, 4)).images(1, "unused")
    network = wrap(Never(LARGEST), input_shape=(1, 6, 4))
    found = MMBD(steps=40, precision="float32").detect(network, images, heldout=images, rng=Rng(0))

    assert found.traits["margin"][6] < 0
    assert 6 not in found.indices
    assert found.notes == ("1 of 7 labels are reached by no image that was tried.",)


def test_the_images_are_not_looked_at():
    one, other = Planted(shape=(1, 6, 4)).images(1, "one"), Planted(shape=(1, 6, 4), seed=1).images(3, "other")
    found = [MMBD(steps=5).detect(model(LARGEST), s, heldout=s, rng=Rng(0)).traits for s in (one, other)]

    assert found[0] == found[1]


def test_how_labels_are_put_together_makes_no_difference():
    settings = MMBD(steps=30, precision="float32")
    one, other = (scan(LARGEST, dataclasses.replace(settings, labels_at_once=n)) for n in (64, 2))

    assert other.traits["margin"] == pytest.approx(one.traits["margin"], rel=1e-5)


@pytest.mark.parametrize("bad", [{"starts": 0}, {"steps": 0}, {"labels_at_once": 0}, {"rate": 0.0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        MMBD(**bad)
