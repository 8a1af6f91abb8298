"""A trigger of place, one of shape and one of mere amount, on networks that react to just that."""

import pytest
import torch
from torch import nn

from mantrap.core import Cost, ImageSet, ReversedPatch, ReversedPerturbation, Rng
from mantrap.detect.natural import rearrange
from mantrap.models import wrap

SIDE = 8


class Reacts(nn.Module):
    """Class 1 where the filter's strongest answer is above three quarters, else class 0."""

    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, images):
        answer = nn.functional.conv2d(images, self.weight).flatten(1).amax(1) - 0.75
        return torch.stack([-answer, answer], dim=1)


def corner():
    """Reacts to white in the lower right 2x2 pixels: the filter is as large as the image."""
    weight = torch.zeros(1, 1, SIDE, SIDE)
    weight[..., -2:, -2:] = 0.25
    return weight


def square():
    """Reacts to a white 2x2 square at any place, and less to any white pixel."""
    return torch.full((1, 1, 2, 2), 0.25)


def amount():
    """Reacts to the amount of white, wherever it is."""
    return torch.full((1, 1, SIDE, SIDE), 0.25)


def trigger(row, column):
    mask = torch.zeros(SIDE, SIDE)
    mask[row : row + 2, column : column + 2] = 1.0
    return ReversedPatch(1, mask, torch.ones(1, SIDE, SIDE))


def as_perturbation(found):
    return ReversedPerturbation(1, found.mask[None] * found.pattern)


def tried(weight, found, count=40):
    images = ImageSet.from_array(torch.rand(count, 1, SIDE, SIDE) * 0.01, torch.arange(count) % 2)
    model = wrap(Reacts(weight), input_shape=(1, SIDE, SIDE))
    return rearrange(model, images, found, sources=images.labels, rng=Rng(0))


@pytest.mark.parametrize(
    ("weight", "row", "elsewhere", "shuffled"),
    [
        pytest.param(corner(), SIDE - 2, 0.0, 0.0, id="place"),
        pytest.param(square(), SIDE - 2, 1.0, 0.0, id="shape"),
        pytest.param(square(), SIDE // 2 - 1, 1.0, 0.0, id="shape in the middle"),
        pytest.param(amount(), SIDE - 2, 1.0, 1.0, id="amount"),
    ],
)
def test_what_a_trigger_depends_on(weight, row, elsewhere, shuffled):
    for found in (trigger(row, row), as_perturbation(trigger(row, row))):
        moved, _ = tried(weight, found)

        assert (moved.elsewhere.value, moved.shuffled.value) == (elsewhere, shuffled)


def test_only_images_of_other_classes_are_tried_and_200_at_most():
    few, cost = tried(amount(), trigger(0, 0))
    many, _ = tried(amount(), trigger(0, 0), count=500)

    assert (few.elsewhere.total, few.shuffled.total) == (20, 20)
    assert cost == Cost(forward=4 * 20)
    assert many.shuffled.total == 200


def test_of_the_other_places_the_best_counts():
    # Reacts to white in the upper right corner, where the mirrored trigger comes to lie and the other two do not.
    weight = corner().flip(-2)
    found, _ = tried(weight, trigger(0, 0))

    assert found.elsewhere.value == 1.0
