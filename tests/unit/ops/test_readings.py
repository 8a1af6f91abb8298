"""A layer is seen reading, whether its network hands it the input by place or by name."""

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, ReversedPatch, Rng
from mantrap.ops.features import features_of, last_linear
from mantrap.ops.neurons import neuron_values, readers
from mantrap.ops.readings import on_reading
from mantrap.ops.silence import silenced
from mantrap.repair import REPAIRS
from tests.planted import Planted

PLANTED = Planted(shape=(1, 8, 8), classes=3)


class Network(nn.Module):
    """A convolution and two dense layers, each called by place or each by name."""

    def __init__(self, by_name):
        super().__init__()
        self.by_name = by_name
        self.conv, self.hidden, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, images):
        def call(layer, values):
            return layer(input=values) if self.by_name else layer(values)

        return call(self.head, call(self.hidden, call(self.conv, images).relu().mean((2, 3))).relu())


def classifier(by_name):
    with Rng(0).child("weights").as_global():
        return Classifier(Network(by_name).eval(), input_shape=PLANTED.shape, num_classes=3)


def both(look):
    """What is seen of each of the two networks, and whether it is the same."""
    found = [look(classifier(by_name)) for by_name in (False, True)]
    return found[0], torch.equal(*found)


IMAGES = PLANTED.images(4, "images")


@pytest.mark.parametrize("layer", ["conv", "hidden", "head"])
def test_values_are_the_same_by_name_as_by_place(layer):
    assert both(lambda model: neuron_values(model, IMAGES.images(), layer))[1]


def test_features_are_the_same_by_name_as_by_place():
    values, same = both(lambda model: features_of(model, IMAGES.images()))

    assert same
    assert values.shape == (12, 6)
    assert last_linear(classifier(by_name=True)).out_features == 3
    assert readers(classifier(by_name=True)) == ("conv", "hidden", "head")


@pytest.mark.parametrize(("layer", "units"), [("hidden", 4), ("head", 6)])
def test_neurons_are_silent_by_name_as_by_place(layer, units):
    silent = torch.arange(units) < units // 2

    def quiet(model):
        with silenced(model, layer, silent), torch.no_grad():
            return model.logits(IMAGES.images())

    logits, same = both(quiet)

    assert same
    assert not torch.equal(logits, classifier(by_name=True).logits(IMAGES.images()))


def test_a_network_that_calls_its_layers_by_name_can_be_pruned():
    trigger = ReversedPatch(0, torch.ones(8, 8), torch.ones(1, 8, 8))

    def pruned(model):
        made = REPAIRS.create("pruning(layer='head', most=0.5)").repair(model, IMAGES, triggers=(trigger,), rng=Rng(0))
        return made.model.module.head.weight.detach()

    assert both(pruned)[1]


def test_what_is_returned_is_read_and_nothing_stays_once_the_hook_is_gone():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
        layer.bias.zero_()
    handle = on_reading(layer, lambda values: 2 * values)

    assert layer(torch.tensor([1.0, 3.0])).tolist() == layer(input=torch.tensor([1.0, 3.0])).tolist() == [2.0, 6.0]
    handle.remove()
    assert layer(torch.tensor([1.0, 3.0])).tolist() == [1.0, 3.0]
