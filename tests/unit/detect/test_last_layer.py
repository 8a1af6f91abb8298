"""Weights that are known, read off the right layer of a network, and nothing but them."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from mantrap.core import Classifier, Cost, ImageSet, Rng
from mantrap.detect import LastLayer
from mantrap.errors import FailedError, UsageError

SHAPE, CLASSES, WIDTH = (1, 4, 5), 4, 9
IMAGES = ImageSet.from_array(torch.zeros(2, *SHAPE), torch.tensor([0, 1]))
NOTHING = "This network does not end in a linear layer with an output for each label, so there is nothing to read."


class Layers(nn.Module):
    """Three linear layers, the last to be called in the middle of the names; the first has as many outputs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(20, CLASSES)
        self.last = nn.Linear(WIDTH, CLASSES)
        self.middle = nn.Linear(CLASSES, WIDTH)

    def forward(self, images):
        return self.last(relu(self.middle(relu(self.first(images.flatten(1))))))


class Averages(nn.Module):
    """A hidden linear layer, and a convolution in the end."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(20, WIDTH)
        self.scores = nn.Conv1d(1, CLASSES, WIDTH)

    def forward(self, images):
        return self.scores(self.hidden(images.flatten(1))[:, None])[..., 0]


def network(kind=Layers):
    with Rng(0).as_global():
        return kind()


def read(module, labels=None, *, seed=0):
    model = Classifier(module, input_shape=SHAPE, num_classes=CLASSES)
    return LastLayer().detect(model, IMAGES, heldout=IMAGES, labels=labels, rng=Rng(seed))


def rows(*values):
    """A network whose last layer has these rows."""
    module = network()
    module.last.weight.data.copy_(torch.tensor(values))
    return module


def test_mean_and_length_of_each_row_are_those_of_the_layer_that_gives_the_scores_apart_from_the_mean_row():
    module = network()
    found = read(module)
    weight = module.last.weight.detach().double()
    weight = weight - weight.mean(0)

    assert list(found.traits) == ["row_mean", "row_norm"]
    for label in range(CLASSES):
        length = float(weight[label].norm())
        assert found.traits["row_norm"][label] == pytest.approx(length)
        assert found.traits["row_mean"][label] == pytest.approx(float(weight[label].mean()) * math.sqrt(WIDTH) / length)


def test_the_mean_is_a_share_of_the_root_mean_square_and_does_not_depend_on_the_length():
    alternating = [2.0, -2.0] * (WIDTH // 2) + [0.0]
    found = read(rows([3.0] * WIDTH, [-3.0] * WIDTH, alternating, [-v for v in alternating]))

    assert found.traits["row_mean"] == pytest.approx({0: 1.0, 1: -1.0, 2: 0.0, 3: 0.0}, abs=1e-6)
    assert found.traits["row_norm"] == pytest.approx({0: 9.0, 1: 9.0, 2: math.sqrt(32), 3: math.sqrt(32)}, rel=1e-6)


def test_what_all_rows_share_makes_no_difference():
    module = network()
    before = read(module).traits
    module.last.weight.data += torch.arange(float(WIDTH))

    for trait, values in read(module).traits.items():
        assert values == pytest.approx(before[trait], rel=1e-4)


def test_of_two_labels_the_lengths_say_nothing():
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(20, 2)), input_shape=SHAPE, num_classes=2)
    found = LastLayer().detect(model, IMAGES, heldout=IMAGES, rng=Rng(0))

    assert list(found.traits) == ["row_mean"]
    assert found.traits["row_mean"][0] == pytest.approx(-found.traits["row_mean"][1])


def test_a_row_that_was_made_longer_stands_out():
    module = network()
    module.last.weight.data[2] *= 9
    lengths = read(module).traits["row_norm"]

    assert max(lengths, key=lengths.get) == 2
    assert lengths[2] > 2 * max(length for label, length in lengths.items() if label != 2)


def test_a_row_that_is_the_mean_row_is_left_out():
    alternating = [2.0, -2.0] * (WIDTH // 2) + [0.0]
    found = read(rows([3.0] * WIDTH, [0.0] * WIDTH, alternating, [-3.0 - v for v in alternating]))

    assert [sorted(values) for values in found.traits.values()] == [[0, 2, 3]] * 2


def test_a_network_that_ends_in_something_else_gives_a_note_and_no_traits():
    found = read(network(Averages))

    assert (found.traits, found.notes) == ({}, (NOTHING,))
    assert read(network()).notes == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_an_error(bad):
    module = network()
    module.last.weight.data[2, 3] = bad
    with pytest.raises(FailedError, match="expected finite weights in the last layer"):
        read(module)


def test_only_the_labels_that_were_asked_for_are_read_and_as_they_are_among_all():
    everything, some = read(network()), read(network(), [3, 1])

    assert some.scanned == (3, 1)
    for trait, values in some.traits.items():
        assert values == {label: everything.traits[trait][label] for label in (3, 1)}
    with pytest.raises(UsageError, match=r"labels from 0 to 3, got \[4\]"):
        read(network(), [4])


def test_it_names_nobody_measures_no_trigger_and_costs_one_image():
    found = read(network())

    assert (found.labels, found.triggers, found.suspects, found.indices) == ((), (), (), {})
    assert (found.score, found.p_value) == (None, None)
    assert found.cost == Cost(forward=1)
    assert found.detector == "last_layer"


def test_nothing_is_drawn():
    one, other = (read(network(), seed=seed).traits for seed in (0, 1))

    assert one == other
