"""A normalisation is folded where that changes nothing, and nowhere else."""

import pytest
import torch
from torch import nn

from mantrap.core import Rng
from mantrap.ops.folding import fold

IMAGES = torch.rand(6, 3, 8, 8, generator=Rng(0).torch())


@pytest.fixture(autouse=True)
def _same_weights():
    """Fresh weights are drawn from torch's global stream."""
    with Rng(3).as_global():
        yield


class Net(nn.Module):
    """Layers that a test puts together."""

    def __init__(self, way):
        super().__init__()
        self.conv, self.norm, self.free = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.InstanceNorm2d(4)
        self.batch = nn.BatchNorm2d(4, track_running_stats=False)
        self.dense, self.rows, self.again = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Conv2d(4, 3, 3, padding=2)
        self.way = way
        for norm in (self.norm, self.rows):
            norm.running_mean.uniform_(-1, 1, generator=Rng(1).torch())
            norm.running_var.uniform_(0.5, 2, generator=Rng(2).torch())

    def forward(self, x):
        return self.way(self, x)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (lambda n, x: n.norm(n.conv(x)).relu(), 1),
        (lambda n, x: n.rows(n.dense(n.conv(x).mean((2, 3)))), 1),
        (lambda n, x: n.rows(n.dense(n.norm(n.conv(x)).mean((2, 3)))), 2),
        (lambda n, x: n.norm(n.conv(x).relu()), 0),
        (lambda n, x: n.norm(maps := n.conv(x)) + maps, 0),
        (lambda n, x: n.norm(n.conv(n.again(n.norm(n.conv(x))))), 0),
        (lambda n, x: n.free(n.conv(x)), 0),
        (lambda n, x: n.batch(n.conv(x)), 0),
    ],
    ids=[
        "convolution",
        "dense",
        "both",
        "a ReLU between",
        "read twice",
        "called twice",
        "another norm",
        "no statistics",
    ],
)
def test_it_folds_what_changes_nothing(way, expected):
    net = Net(way).eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    logits = net(IMAGES)
    folded, count = fold(net)

    assert count == expected
    assert torch.allclose(folded(IMAGES), logits, atol=1e-5)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_what_cannot_be_traced_is_said():
    with pytest.raises(torch.fx.proxy.TraceError):
        fold(Net(lambda n, x: n.conv(x) if x.sum() > 0 else n.conv(-x)))
