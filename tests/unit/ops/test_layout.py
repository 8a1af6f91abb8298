"""Channels last: taken where a network can, left alone where it cannot, and no value moves."""

import pytest
import torch
from torch import nn

from mantrap.models import wrap
from mantrap.ops.layout import channels_last


class Flat(nn.Module):
    """A convolution and a dense layer; between them the maps are made a row in one way or another."""

    def __init__(self, flatten, *, only_in_training=False):
        super().__init__()
        self.conv, self.dense = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 5)
        self.flatten, self.only_in_training = flatten, only_in_training

    def forward(self, x):
        maps = self.conv(x)
        rows = maps.flatten(1) if self.only_in_training and not self.training else self.flatten(maps)
        return self.dense(rows)


IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def wrapped(module):
    return wrap(module, input_shape=(3, 8, 8))


def viewed(maps):
    return maps.view(len(maps), -1)


def in_memory_order(maps):
    return torch.as_strided(maps, (len(maps), maps[0].numel()), (maps[0].numel(), 1))


def test_a_network_that_can_lies_channels_last_inside_and_as_usual_afterwards():
    module = Flat(lambda maps: maps.flatten(1))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    logits = module(IMAGES)
    with channels_last(wrapped(module)) as able:
        assert able
        assert module.conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert not module.conv.weight.is_contiguous()
        assert torch.allclose(module(IMAGES), logits, atol=1e-5)
    assert module.conv.weight.is_contiguous()
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    "module",
    [
        Flat(viewed),
        Flat(viewed, only_in_training=True),
        Flat(in_memory_order),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)),
    ],
    ids=["view", "view in training", "reads the memory", "no convolution"],
)
def test_a_network_that_cannot_is_left_as_it_is(module):
    with channels_last(wrapped(module)) as able:
        assert not able
        assert all(p.is_contiguous() for p in module.parameters())
        module(IMAGES)


def test_trying_it_moves_no_statistics_and_no_stream():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with channels_last(wrapped(module)) as able:
        assert able
        assert torch.rand(1) == expected
    assert int(module[1].num_batches_tracked) == 0
    assert all(m.training for m in module.modules())


def test_the_layout_comes_back_after_an_error():
    module = Flat(lambda maps: maps.flatten(1))
    with pytest.raises(KeyError), channels_last(wrapped(module)):
        raise KeyError
    assert module.conv.weight.is_contiguous()
