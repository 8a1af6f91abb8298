"""Every architecture: shapes, sizes counted by hand, gradients, specs, and sameness with independent code."""

import importlib.util
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mantrap.core import Spec, spec_of
from mantrap.errors import SpecError
from mantrap.models import ARCHITECTURES, Architecture

SMALL = {
    "vgg16": {"height": 32, "width": 32, "hidden": 8},
    "mlp": {"hidden": (8,)},
    "maxout": {"hidden": (8,)},
    "wide_resnet": {"depth": 10},
}
"""Options that keep a network small enough to run in a blink."""


def small(name, **options):
    return ARCHITECTURES.create(Spec(name, {**SMALL.get(name, {}), **options}))


def fresh(architecture, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build()


def weights_of(architecture):
    """Number of weights, without the memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in architecture.build().parameters())


@pytest.mark.parametrize("name", ARCHITECTURES.names)
@pytest.mark.parametrize(("channels", "classes", "images"), [(1, 2, 1), (3, 10, 2), (4, 43, 3)])
def test_one_row_of_logits_for_each_image(name, channels, classes, images):
    network = fresh(small(name, channels=channels, num_classes=classes)).eval()
    shape = small(name, channels=channels).input_shape
    assert network(torch.zeros(images, *shape)).shape == (images, classes)


@pytest.mark.parametrize("name", ARCHITECTURES.names)
def test_images_need_not_be_square(name):
    step = ARCHITECTURES.kind(name).multiple_of
    architecture = small(name, height=32, width=32 + max(step, 5))
    assert architecture.input_shape[1:] == (32, 32 + max(step, 5))
    assert fresh(architecture).eval()(torch.zeros(1, *architecture.input_shape)).shape[0] == 1


@pytest.mark.parametrize("name", ["mnist_cnn", "gtsrb_cnn", "deepid", "vgg16"])
def test_the_smallest_size_works_and_the_next_smaller_is_refused_by_number(name):
    kind = ARCHITECTURES.kind(name)
    architecture = small(name, height=kind.smallest, width=kind.smallest)
    assert torch.isfinite(fresh(architecture).eval()(torch.zeros(1, *architecture.input_shape))).all()
    for side in ("height", "width"):
        with pytest.raises(SpecError, match=f"{side} from {kind.smallest} to"):
            small(name, **{side: kind.smallest - 1})


@given(
    height=st.integers(31, 80), width=st.integers(31, 80), name=st.sampled_from(["mnist_cnn", "gtsrb_cnn", "deepid"])
)
@settings(max_examples=10)
def test_the_dense_layers_fit_whatever_the_size(height, width, name):
    with torch.device("meta"):
        architecture = small(name, height=height, width=width)
        assert architecture.build()(torch.zeros(1, *architecture.input_shape)).shape == (1, architecture.num_classes)


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        # 1*16*25+16, 16*32*25+32, 512*512+512, 512*10+10
        ("mnist_cnn", 416 + 12_832 + 262_656 + 5_130),
        # six convolutions, 512*512+512, 512*43+43
        ("gtsrb_cnn", 896 + 9_248 + 18_496 + 36_928 + 73_856 + 147_584 + 262_656 + 22_059),
        # four convolutions, 1200*160+160, 960*160+160, 160*1283+1283; as in the zoo's manifest
        ("deepid", 601_643),
        # as the paper's table 2 has it in millions, and as torchvision counts it
        ("vgg16(num_classes=1000)", 138_357_544),
        # stem 432+32; 2*(2304+32); 4608+64+9216+64+512+64; 18432+128+36864+128+2048+128; 650
        ("resnet8", 464 + 4_672 + 14_528 + 57_728 + 650),
        ("preact_resnet18", 11_171_146),
        # "0.2M" in the papers; the zoo's WRN16_1 without its buffers
        ("wide_resnet(depth=16)", 175_066),
        # "36.5M" in table 5 of the paper
        ("wide_resnet(depth=28, widen=10)", 36_479_194),
        ("mlp", 784 * 512 + 512 + 512 * 10 + 10),
        ("mlp(hidden=())", 7_850),
        ("mlp(hidden=(100, 100))", 78_500 + 10_100 + 1_010),
        # (784 + 1) and (240 + 1) weights for each of 240 units of 5 pieces, then (240 + 1) * 10
        ("maxout", 942_000 + 289_200 + 2_410),
        # a centre and a width for each of 784 values of 10 classes
        ("rbf", 15_680),
    ],
)
def test_the_number_of_weights_is_that_of_the_paper(spec, count):
    assert weights_of(ARCHITECTURES.create(spec)) == count


@pytest.mark.parametrize("name", ARCHITECTURES.names)
def test_gradients_reach_the_image_and_every_weight(name):
    architecture = small(name, num_classes=3)
    network = fresh(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        images = torch.rand(4, *architecture.input_shape, requires_grad=True)
        torch.nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 0])).backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES.names)
def test_a_spec_builds_the_same_again(name):
    architecture = small(name, channels=2, num_classes=7)
    assert isinstance(architecture, Architecture)
    assert ARCHITECTURES.create(str(spec_of(architecture))) == architecture
    assert str(spec_of(ARCHITECTURES.kind(name)())) == name


@pytest.mark.parametrize("name", ARCHITECTURES.names)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name):
    first, again, other = (fresh(small(name), seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ["mnist_cnn", "gtsrb_cnn", "deepid", "mlp", "maxout"])
def test_glorot_weights_stay_within_their_bound_and_reach_it(name):
    for layer in fresh(small(name)).modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            receptive = layer.weight[0, 0].numel() if layer.weight.ndim == 4 else 1
            bound = (6 / ((layer.weight.shape[0] + layer.weight.shape[1]) * receptive)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert layer.bias.count_nonzero() == 0


def test_dropout_is_there_in_training_and_can_be_left_out():
    with torch.random.fork_rng(devices=[]):
        images = torch.rand(2, 3, 32, 32)
        for name, without in [
            ("gtsrb_cnn", "dropout=False"),
            ("wide_resnet", "dropout=0.0"),
            ("mlp", "dropout=0.0"),
            ("maxout", "input_dropout=0.0, dropout=0.0"),
        ]:
            sizes = "channels=3, height=32, width=32"
            with_it = fresh(
                ARCHITECTURES.create(f"{name}({sizes}, {without.replace('False', 'True').replace('0.0', '0.5')})")
            )
            plain = fresh(ARCHITECTURES.create(f"{name}({sizes}, {without})"))
            assert not torch.equal(with_it(images), with_it(images)), name
            assert torch.equal(plain(images), plain(images)), name


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("wide_resnet(depth=18)", "6n \\+ 4"),
        ("wide_resnet(widen=0)", "widen from 1"),
        ("wide_resnet(dropout=1.0)", r"dropout in \[0, 1\)"),
        ("vgg16(height=100)", "a multiple of 32"),
        ("vgg16(hidden=0)", "hidden from 1"),
        ("mlp(activation='swish')", "relu"),
        ("mlp(hidden=(0,))", "hidden at most"),
        ("mlp(dropout=-0.1)", "dropout in"),
        ("maxout(hidden=())", "hidden 1 to"),
        ("maxout(hidden=(0,))", "hidden 1 to"),
        ("maxout(pieces=0)", "pieces from 1"),
        ("maxout(dropout=1.0)", r"expected dropout in \[0, 1\)"),
        ("maxout(input_dropout=-0.1)", "input_dropout in"),
        ("rbf(sharpness=0.0)", "sharpness above 0"),
        ("mnist_cnn(num_classes=1)", "num_classes from 2"),
        ("mnist_cnn(channels=0)", "channels from 1"),
        ("mnist_cnm", "Did you mean mnist_cnn"),
    ],
)
def test_what_cannot_be_built_is_refused(spec, says):
    with pytest.raises(SpecError, match=says):
        ARCHITECTURES.create(spec)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_an_mlp_computes_what_its_formula_says(activation):
    network = fresh(ARCHITECTURES.create(f"mlp(channels=1, height=2, width=3, hidden=(4,), activation={activation!r})"))
    images = torch.linspace(-1, 1, 12).view(2, 1, 2, 3)
    first, second = (layer for layer in network if isinstance(layer, torch.nn.Linear))
    hidden = getattr(torch, activation)(images.reshape(2, 6) @ first.weight.T + first.bias)
    assert torch.allclose(network(images), hidden @ second.weight.T + second.bias, atol=1e-6)


def test_a_maxout_unit_is_the_largest_of_its_own_sums():
    network = fresh(ARCHITECTURES.create("maxout(channels=1, height=2, width=3, hidden=(4, 5), pieces=3)")).eval()
    images = torch.linspace(-1, 1, 12).view(2, 1, 2, 3)
    values = images.reshape(2, 6)
    *hidden, last = (layer for layer in network if isinstance(layer, torch.nn.Linear))
    for layer, units in zip(hidden, (4, 5), strict=True):
        sums = (values @ layer.weight.T + layer.bias).tolist()
        values = torch.tensor([[max(row[3 * unit : 3 * unit + 3]) for unit in range(units)] for row in sums])
    assert torch.allclose(network(images), values @ last.weight.T + last.bias, atol=1e-6)


def test_maxout_drops_values_of_the_image_and_hidden_units_each_by_its_own_share():
    spec = "maxout(channels=1, height=20, width=50, hidden=(1000,), pieces=1, dropout={}, input_dropout={})"
    for shares in ((0.4, 0.1), (0.1, 0.4)):
        network = fresh(ARCHITECTURES.create(spec.format(*shares)))
        first, second = (layer for layer in network if isinstance(layer, torch.nn.Dropout))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            dropped = [float((layer(torch.ones(20, 1000)) == 0).float().mean()) for layer in (second, first)]
        assert dropped == pytest.approx(shares, abs=0.01)


def test_the_sigmoid_of_an_rbf_logit_falls_with_the_squared_distance_from_the_centre():
    network = fresh(ARCHITECTURES.create("rbf(channels=1, height=2, width=3, num_classes=4, sharpness=0.2)"))
    torch.testing.assert_close(network.log_sharpness.exp(), torch.full((4, 6), 0.2))
    with torch.no_grad():
        network.log_sharpness.copy_(torch.linspace(-2, 1, 24).view(4, 6))
    images = torch.linspace(0, 1, 12).view(2, 1, 2, 3)
    apart = images.reshape(2, 1, 6) - network.centres
    distances = (network.log_sharpness.exp() * apart**2).sum(2)
    torch.testing.assert_close(network(images).sigmoid(), (-distances).exp())
    with torch.no_grad():
        far, near = network(100 + images), network(network.centres[2].view(1, 1, 2, 3))
    assert far.isfinite().all()
    assert float(far.sigmoid().max()) < 1e-6
    assert float(near.sigmoid()[0, 2]) > 0.999


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("deepid", "csaw_face_sunglasses_t0"), ("wide_resnet(depth=16, widen=1)", "nad_cifar10_grid_t5")],
)
def test_our_network_answers_like_independent_code_with_the_same_weights(ours, theirs, shared):
    found = importlib.util.spec_from_file_location("zoo_archs_for_parity", shared / "zoo" / "archs.py")
    zoo = importlib.util.module_from_spec(found)
    found.loader.exec_module(zoo)
    reference, mine = zoo.BUILD[theirs](), ARCHITECTURES.create(ours)
    weights = load_file(shared / "zoo" / f"{theirs}.safetensors")
    reference.load_state_dict(weights)
    network = fresh(mine)
    # Both register their layers in the order of computation, apart from the place of the norm before the last layer.
    network.load_state_dict(renamed(weights))
    images = torch.linspace(0, 1, 2 * torch.Size(mine.input_shape).numel()).view(2, *mine.input_shape)
    assert torch.allclose(network.eval()(images), reference.eval()(images), rtol=1e-4, atol=1e-4)
    manifest = {entry["id"]: entry for entry in json.loads((shared / "zoo" / "manifest.json").read_text())}
    assert sum(t.numel() for t in network.state_dict().values()) == manifest[theirs]["params"]


def renamed(weights):
    """The WideResNet of the zoo in our names; other weights as they are."""
    if "block1.layer.0.conv1.weight" not in weights:
        return weights
    names = {"conv1.weight": "stem.weight", "fc.weight": "head.weight", "fc.bias": "head.bias"}
    moved = {}
    for name, tensor in weights.items():
        if name.startswith("block"):
            stage, _, position, *rest = name.split(".")
            place = 2 * (int(stage.removeprefix("block")) - 1) + int(position)
            inside = ".".join(rest).replace("bn", "norm").replace("convShortcut", "shortcut")
            moved[f"blocks.{place}.{inside}"] = tensor
        elif name.startswith("bn1."):
            moved[name.replace("bn1.", "tail.0.")] = tensor
        else:
            moved[names[name]] = tensor
    return moved
