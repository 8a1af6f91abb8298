"""A model that is looked at is not changed, whatever kind of module it is."""

import pytest
import torch
from torch import Tensor, nn

from mantrap.core import Classifier
from mantrap.errors import ModelError, UsageError

SHAPE = (3, 4, 5)


class Recorder(nn.Module):
    """Keeps what it is given; its logits are the means of the channels."""

    def forward(self, images: Tensor) -> Tensor:
        self.given = images
        return images.mean((2, 3))


class Restless(nn.Module):
    """A module with bad habits: it writes to its buffers and weights in every mode, and swaps a buffer for another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))
        self.norm.train()

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1
        self.conv.bias.data.mul_(0.5)
        with torch.no_grad():
            self.conv.weight.add_(1.0)
        logits = self.drop(self.norm(self.conv(images))).mean((2, 3))
        self.last = logits.detach().mean(0)
        return logits


def images(count: int = 4) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def classifier(module: nn.Module, **options: object) -> Classifier:
    return Classifier(module, **({"input_shape": SHAPE, "num_classes": 2} | options))


class TestPreprocessing:
    @pytest.mark.parametrize(
        ("options", "black", "white"),
        [
            ({}, [0, 0, 0], [1, 1, 1]),
            ({"mean": [0.5], "std": [0.25]}, [-2, -2, -2], [2, 2, 2]),
            ({"mean": [0.1, 0.2, 0.4]}, [-0.1, -0.2, -0.4], [0.9, 0.8, 0.6]),
            ({"std": [0.5, 1, 2]}, [0, 0, 0], [2, 1, 0.5]),
            ({"pixel_range": (0, 255)}, [0, 0, 0], [255, 255, 255]),
            ({"pixel_range": (-1, 1)}, [-1, -1, -1], [1, 1, 1]),
            ({"pixel_range": (0, 255), "mean": [100], "std": [10]}, [-10, -10, -10], [15.5, 15.5, 15.5]),
        ],
        ids=str,
    )
    def test_black_and_white_are_what_was_declared(self, options, black, white):
        module = Recorder()
        model = classifier(module, num_classes=3, **options)
        model.logits(torch.stack([torch.zeros(SHAPE), torch.ones(SHAPE)]))

        assert module.given.shape == (2, *SHAPE)
        assert torch.allclose(module.given[0, :, 0, 0], torch.tensor(black, dtype=torch.float32))
        assert torch.allclose(module.given[1, :, 0, 0], torch.tensor(white, dtype=torch.float32))

    def test_the_gradient_comes_through_in_units_of_pixels(self):
        model = classifier(Recorder(), num_classes=3, std=[0.5], pixel_range=(0, 255))
        given = images().requires_grad_()
        model.logits(given).sum().backward()

        assert torch.allclose(given.grad, torch.full_like(given, 255 / 0.5 / (4 * 5)))

    def test_images_are_not_written_to(self):
        given = images()
        classifier(Recorder(), num_classes=3, mean=[0.5], std=[0.5], pixel_range=(0, 255)).logits(given)

        assert torch.equal(given, images())

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"mean": [0.1, 0.2]}, r"mean with 1 or 3 values.*got 2 .*Give --mean"),
            ({"std": [1.0] * 4}, r"std with 1 or 3 values.*got 4"),
            ({"std": [0.0]}, r"a positive std .*got std \[0\.0\]"),
            ({"std": [1.0, -1.0, 1.0]}, "a positive std"),
            ({"pixel_range": (1.0, 0.0)}, "a rising pixel range"),
            ({"pixel_range": (1.0, 1.0)}, "a rising pixel range"),
            ({"class_names": ["one"]}, "expected 2 class names, got 1"),
        ],
        ids=str,
    )
    def test_what_does_not_fit_is_refused(self, options, complaint):
        with pytest.raises(UsageError, match=complaint):
            classifier(Recorder(), **options)

    def test_classes_without_names_are_called_by_their_numbers(self):
        assert classifier(Recorder()).class_names == ("0", "1")
        assert classifier(Recorder(), class_names=["stop", "go"]).class_names == ("stop", "go")


@pytest.mark.parametrize(
    ("module", "got"),
    [
        (nn.Flatten(), r"got \(4, 60\)"),
        (nn.Flatten(0), r"got \(240,\)"),
        (Recorder(), r"got \(4, 3\)"),
    ],
)
def test_an_output_of_another_shape_is_refused(module, got):
    with pytest.raises(ModelError, match=rf"logits of shape \(4, 2\), {got}"):
        classifier(module).logits(images())


def test_an_output_that_is_no_tensor_is_refused():
    class Pair(nn.Module):
        def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
            return given, given

    with pytest.raises(ModelError, match="got tuple"):
        classifier(Pair()).logits(images())


class TestFeatures:
    @pytest.fixture
    def model(self) -> Classifier:
        layers = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return classifier(nn.Sequential(layers, nn.Linear(2, 2)))

    def test_they_are_what_the_layer_puts_out_of_normalised_images(self, model):
        plain = classifier(model.module)
        model = classifier(model.module, mean=[0.5], std=[0.25])
        expected = model.module[0][0]((images() - 0.5) / 0.25)

        assert torch.equal(model.features(images(), "0.0"), expected)
        assert not torch.equal(plain.features(images(), "0.0"), expected)
        assert model.features(images(), "0.3").shape == (4, 2)

    def test_no_hook_stays_also_after_an_error(self, model):
        model.features(images(), "0.1")
        model.module[1].weight.data = torch.zeros(2, 3)
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            model.features(images(), "0.1")

        assert not any(part._forward_hooks for part in model.module.modules())

    def test_a_layer_that_is_not_there_is_refused_with_those_that_are(self, model):
        with pytest.raises(UsageError, match=r"0\.3, 1, got 'fc'"):
            model.features(images(), "fc")

    def test_a_layer_that_is_never_called_is_refused(self, model):
        model.module[0].add_module("idle", nn.Identity())
        model.module[0].forward = lambda given: given.mean((2, 3))[:, :2]
        with pytest.raises(ModelError, match=r"run through '0\.idle', got no call"):
            model.features(images(), "0.idle")


def state(module: nn.Module) -> dict[str, object]:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        "values": {name: (id(t), t.requires_grad, t.detach().numpy().tobytes()) for name, t in tensors.items()},
        "grads": {name: (id(t.grad), None if t.grad is None else t.grad.tolist()) for name, t in tensors.items()},
        "modes": [part.training for part in module.modules()],
        "hooks": [dict(part._forward_hooks) for part in module.modules()],
    }


class TestFrozen:
    @pytest.fixture
    def model(self) -> Classifier:
        module = Restless()
        module.conv.weight.grad = torch.ones_like(module.conv.weight)
        module.norm.weight.requires_grad_(False)
        module.drop.eval()
        module.norm.register_forward_hook(lambda *_: None)
        return classifier(module)

    def test_inside_all_is_in_eval_mode_and_no_weight_has_a_gradient(self, model):
        with model.frozen() as same:
            assert same is model
            assert not any(part.training for part in model.module.modules())
            assert not any(parameter.requires_grad for parameter in model.module.parameters())

    def test_afterwards_all_is_bitwise_as_before(self, model):
        before = state(model.module)
        with model.frozen():
            model.logits(images())
            model.module.conv.register_forward_hook(lambda *_: None)
            model.module.conv.requires_grad_(True)
            model.module.train()
            model.logits(images()).sum().backward()

        assert state(model.module) == before

    def test_afterwards_all_is_as_before_also_after_an_error(self, model):
        before = state(model.module)
        with pytest.raises(RuntimeError, match="expected input"), model.frozen():
            model.logits(torch.rand(2, 7, 4, 5))

        assert state(model.module) == before

    def test_inside_of_itself_it_ends_with_the_outer_one(self, model):
        before = state(model.module)
        with model.frozen():
            with model.frozen():
                model.logits(images())
            assert not any(part.training for part in model.module.modules())
            assert not any(parameter.requires_grad for parameter in model.module.parameters())

        assert state(model.module) == before

    @pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex128])
    @pytest.mark.parametrize("count", [1, 2, 3, 8])
    @pytest.mark.parametrize("first", [0, 1])
    def test_every_bit_of_a_weight_comes_back_whatever_it_is_made_of(self, kind, count, first):
        module = nn.Module()
        module.weight = nn.Parameter(torch.ones(count + first, dtype=kind)[first:])
        for place in range(count):
            with classifier(module).frozen():
                module.weight.data[place] = 1 + 2**-7
            assert torch.equal(module.weight, torch.ones(count, dtype=kind))

    @pytest.mark.parametrize("kind", [torch.bool, torch.int8, torch.int64])
    def test_every_value_of_a_buffer_comes_back(self, kind):
        module = nn.Module()
        module.register_buffer("seen", torch.zeros(3, 3, dtype=kind))
        with classifier(module).frozen():
            module.seen.data[2, 2] = 1

        assert not module.seen.any()

    def test_weights_that_lie_in_another_order_come_back(self):
        module = nn.Conv2d(4, 2, 3).to(memory_format=torch.channels_last)
        before = module.weight.detach().clone()
        with classifier(module).frozen():
            module.weight.data[1, 3, 2, 2] += 1

        assert torch.equal(module.weight, before)
        assert module.weight.is_contiguous(memory_format=torch.channels_last)

    def test_a_sign_of_zero_comes_back(self, model):
        nn.init.zeros_(model.module.conv.bias)
        with model.frozen():
            model.module.conv.bias.data.neg_()

        assert not model.module.conv.bias.signbit().any()

    def test_what_is_as_it_was_is_not_written_to(self, model):
        nn.init.constant_(model.module.norm.bias, float("nan"))
        written = {name: tensor._version for name, tensor in model.module.state_dict(keep_vars=True).items()}
        with model.frozen():
            model.normalise(images())

        assert {name: t._version for name, t in model.module.state_dict(keep_vars=True).items()} == written

    def test_hooks_and_weights_that_were_taken_away_come_back_in_their_order(self, model):
        module = model.module
        first, second = (module.conv.register_forward_hook(lambda *_: None) for _ in range(2))
        hooks, weights = list(module.conv._forward_hooks), dict(module.conv.named_parameters())
        with model.frozen():
            first.remove()
            del module.conv.weight
            module.conv.extra = nn.Parameter(torch.ones(1))

        assert list(module.conv._forward_hooks) == hooks
        assert list(module.conv._parameters) == list(weights)
        assert all(module.conv._parameters[name] is weight for name, weight in weights.items())
        assert second.id in hooks

    def test_the_gradient_still_reaches_the_images(self, model):
        given = images().requires_grad_()
        with model.frozen():
            model.logits(given).square().sum().backward()

        assert float(given.grad.abs().sum()) > 0


class TestDigest:
    def test_it_is_that_of_weights_and_preprocessing(self):
        module = nn.Conv2d(3, 2, 1)
        same = nn.Conv2d(3, 2, 1)
        same.load_state_dict(module.state_dict())
        digests = [
            classifier(module).digest(),
            classifier(module, mean=[0.5]).digest(),
            classifier(module, std=[0.5]).digest(),
            classifier(module, pixel_range=(0, 255)).digest(),
            classifier(module, input_shape=(3, 5, 4)).digest(),
        ]
        with torch.no_grad():
            module.weight[0, 0] += 1e-7
        digests.append(classifier(module).digest())

        assert len(set(digests)) == 6
        assert classifier(same).digest() == digests[0]

    def test_other_names_or_types_of_the_same_values_are_another_model(self):
        zeros = [nn.Sequential(nn.Linear(2, 2)), nn.ModuleDict({"x": nn.Linear(2, 2)}), nn.Sequential(nn.Linear(2, 2))]
        for module in zeros:
            for parameter in module.parameters():
                parameter.data.zero_()
        zeros[2].half()

        assert len({classifier(module).digest() for module in zeros}) == 3


def test_the_device_is_that_of_the_weights_and_they_are_counted():
    assert classifier(nn.Conv2d(3, 2, 1)).parameters == 8
    assert classifier(nn.Conv2d(3, 2, 1)).device == torch.device("cpu")
    assert classifier(nn.Flatten()).parameters == 0
    assert classifier(nn.Flatten()).device == torch.device("cpu")
    assert classifier(nn.Conv2d(3, 2, 1).to("meta")).device == torch.device("meta")


def test_logits_of_a_network_that_computes_less_exactly_are_of_the_type_of_the_images():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw = nn.Linear(4, 3)(torch.ones(2, 4))
        model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), input_shape=(1, 2, 2), num_classes=3)
        logits = model.logits(torch.ones(2, 1, 2, 2))
    assert raw.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
