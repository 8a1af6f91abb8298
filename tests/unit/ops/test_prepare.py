"""A fast copy answers as the model does, or it is not taken."""

import copy

import jaxtyping
import pytest
import torch
from torch import nn

from mantrap.core import Rng
from mantrap.models import ARCHITECTURES, wrap
from mantrap.ops import prepare as preparing
from mantrap.ops.prepare import EXACT, ROUNDED, prepare

SHAPE = (3, 24, 24)
IMAGES = torch.rand(16, *SHAPE, generator=Rng(0).torch())


@pytest.fixture
def unchecked():
    """What is annotated is not checked: a traced call gets no tensors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _same_weights():
    """Fresh weights are drawn from torch's global stream: how far rounding takes their answers depends on them."""
    with Rng(2).as_global():
        yield


def wrapped(module, **options):
    return wrap(module, input_shape=SHAPE, **options)


def lived_in(module):
    """Statistics and affine parameters as training leaves them: not those of a fresh layer."""
    stream = Rng(1).torch()
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor, low in ((norm.running_mean, -0.5), (norm.bias, -0.5), (norm.running_var, 0.5), (norm.weight, 0.5)):
            tensor.data.copy_(torch.rand(tensor.shape, generator=stream) + low)
    return module


def network(arch):
    return lived_in(ARCHITECTURES.create(f"{arch}(channels=3, height=24, width=24, num_classes=5)").build())


class ByHand(nn.Module):
    """A convolution with batch normalisation whose forward pass the test chooses."""

    def __init__(self, forward):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.out, self.way = nn.Linear(4, 5), forward
        lived_in(self)

    def forward(self, x):
        return self.way(self, x)


def straight(net, x):
    return net.out(net.norm(net.conv(x)).mean((2, 3)))


def branching(net, x):
    return straight(net, x if x.sum() > 0 else -x)


def twice(net, x):
    maps = net.conv(x)
    return net.out((net.norm(maps) + maps).mean((2, 3)))


def only_in_float32(net, x):
    return straight(net, x + torch.zeros(1)) if x.dtype == torch.float32 else x.no_such_thing


def cancelling(net, x):
    return straight(net, x) * 1e-3 + 1000 - 1000 + (x.mean((1, 2, 3))[:, None] * 1e4 - x.mean((1, 2, 3))[:, None] * 1e4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", ["mnist_cnn", "gtsrb_cnn", "resnet8", "preact_resnet18", "wide_resnet", "mlp"])
def test_the_copy_answers_as_the_model_and_pixels_stay_float32(arch, precision):
    model = wrapped(network(arch), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2))
    fast = prepare(model, IMAGES, precision=precision)
    with model.frozen(), torch.no_grad():
        expected, found = model.logits(IMAGES), fast.model.logits(IMAGES)
    spread = expected.amax(1) - expected.amin(1)

    assert fast.precision == precision
    assert found.dtype == torch.float32
    assert float(((found - expected).abs().amax(1) / spread).max()) <= (EXACT if precision == "float32" else ROUNDED)
    assert {p.dtype for p in fast.model.module.parameters()} == {getattr(torch, precision)}
    assert not any(p.requires_grad for p in fast.model.module.parameters())


@pytest.mark.usefixtures("unchecked")
def test_batch_normalisation_goes_into_the_layer_before_it():
    fast = prepare(wrapped(network("resnet8")), IMAGES, precision="float32")

    assert fast.folded == 9
    assert fast.channels_last
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fast.model.module.modules())


def test_the_model_is_bitwise_as_it_was_and_shares_nothing_with_the_copy():
    module = network("resnet8").train()
    model = wrapped(module)
    before = copy.deepcopy(module.state_dict())
    fast = prepare(model, IMAGES)
    for parameter in fast.model.module.parameters():
        parameter.zero_()

    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(m.training for m in module.modules())
    assert all(p.requires_grad and p.is_contiguous() for p in module.parameters())


@pytest.mark.parametrize(
    ("way", "folded", "precision"),
    [
        (straight, 1, "bfloat16"),
        (branching, 0, "bfloat16"),
        (twice, 0, "bfloat16"),
        (only_in_float32, 0, "float32"),
        (cancelling, 1, "float32"),
    ],
)
def test_a_step_that_does_not_go_or_changes_the_answers_is_not_taken(way, folded, precision):
    model = wrapped(ByHand(way))
    fast = prepare(model, IMAGES, precision="bfloat16")
    with model.frozen(), torch.no_grad():
        expected = model.logits(IMAGES)

    assert (fast.folded, fast.precision) == (folded, precision)
    assert fast.error <= (EXACT if precision == "float32" else ROUNDED)
    assert torch.allclose(fast.model.logits(IMAGES), expected, atol=0.05 * float(expected.max() - expected.min()))


@pytest.mark.parametrize("seed", [7, 34])
def test_classes_that_are_nearly_equal_may_change_places(seed):
    # In these networks rounding ranks two classes the other way, and the best two of the copy are not the model's.
    with Rng(seed).as_global():
        model = wrapped(network("mlp"))

    assert prepare(model, IMAGES, precision="bfloat16").precision == "bfloat16"


def test_gradients_that_point_elsewhere_are_noticed():
    class Wrong(nn.Module):
        """The same logits in bfloat16, without a way back to the image."""

        def __init__(self):
            super().__init__()
            self.out = nn.Linear(3, 5)

        def forward(self, x):
            rows = x.mean((2, 3))
            return self.out(rows if x.dtype == torch.float32 else rows.detach() + 0 * rows.flip(1))

    assert prepare(wrapped(Wrong()), IMAGES, precision="bfloat16").precision == "float32"


def test_a_model_that_ignores_its_input_is_prepared_too():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.arange(5.0))

        def forward(self, x):
            return self.bias + 0 * x.flatten(1)[:, :1]

    assert prepare(wrapped(Constant()), IMAGES, precision="bfloat16").precision == "bfloat16"


@pytest.mark.parametrize(("able", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_it_rounds_by_itself_where_the_processor_computes_so(monkeypatch, able, expected):
    monkeypatch.setattr(preparing, "computes_bfloat16", lambda _: able)

    assert prepare(wrapped(network("mlp")), IMAGES).precision == expected
