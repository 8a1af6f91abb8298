"""A stranger's file becomes a classifier, or is refused with a reason."""

import json

import pytest
import safetensors.torch
import torch
from torch import nn

from mantrap.core import Classifier, Spec
from mantrap.errors import ModelError, SpecError, UsageError
from mantrap.models import ARCHITECTURES, Preprocessing, open_model, save_model, wrap

ARCH = "mlp(hidden=(5,))"


def built(arch=ARCH, **sizes):
    spec = Spec.parse(arch)
    architecture = ARCHITECTURES.create(Spec(spec.name, {**spec.options, **sizes}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return architecture.build()


@pytest.fixture
def weights(tmp_path):
    """A file of weights of ``ARCH`` for images of 3x4x5 and 7 classes, with no card."""
    path = tmp_path / "m.safetensors"
    module = built(channels=3, height=4, width=5, num_classes=7)
    path.write_bytes(safetensors.torch.save(module.state_dict()))
    return path


def test_sizes_come_from_the_images_and_classes_from_the_weights(weights):
    model = open_model(weights, arch=ARCH, images_shape=(3, 4, 5), device="cpu")
    assert (model.input_shape, model.num_classes) == ((3, 4, 5), 7)
    assert model.arch == "mlp(channels=3, height=4, width=5, num_classes=7, hidden=(5,))"
    assert model.pixel_range == (0.0, 1.0)
    assert model.logits(torch.rand(2, 3, 4, 5)).shape == (2, 7)


@pytest.mark.parametrize("name", ["mnist_cnn", "gtsrb_cnn", "resnet8", "preact_resnet18", "wide_resnet", "mlp"])
def test_the_number_of_classes_is_read_off_every_architecture_of_ours(tmp_path, name):
    module = built(name, channels=1, height=32, width=32, num_classes=6)
    torch.save({"state_dict": {f"module.{n}": t for n, t in module.state_dict().items()}}, tmp_path / "m.pt")
    model = open_model(tmp_path / "m.pt", arch=name, images_shape=(1, 32, 32), device="cpu")
    assert model.num_classes == 6
    images = torch.linspace(0, 1, 2 * 32 * 32).view(2, 1, 32, 32)
    assert torch.equal(model.logits(images), module.eval()(images))


def test_a_path_may_be_text(weights):
    one, other = (open_model(path, arch=ARCH, images_shape=(3, 4, 5)) for path in (weights, str(weights)))
    assert one.digest() == other.digest()


def test_what_the_spec_says_stands_above_the_images(weights):
    spec = "mlp(channels=3, height=4, width=5, hidden=(5,))"
    assert open_model(weights, arch=spec, device="cpu").input_shape == (3, 4, 5)
    with pytest.raises(UsageError, match=r"images of 3x4x5.*got images of 1x4x5.*--resize 4x5 and --channels 3"):
        open_model(weights, arch=spec, images_shape=(1, 4, 5), device="cpu")


def test_without_arch_and_card_ours_are_listed(weights):
    with pytest.raises(UsageError, match=r"neither --arch nor a card.*--arch.*mnist_cnn, gtsrb_cnn.*FILE\.py:NAME"):
        open_model(weights, device="cpu")


def test_an_unknown_architecture_is_refused_by_name(weights):
    with pytest.raises(SpecError, match="Did you mean mnist_cnn"):
        open_model(weights, arch="mnist_cn", device="cpu")


def test_weights_that_do_not_fit_are_listed_with_what_was_tried(weights):
    with pytest.raises(ModelError) as caught:
        open_model(weights, arch="mnist_cnn", images_shape=(1, 28, 28), device="cpu")
    message = str(caught.value)
    assert "mnist_cnn for images of 1x28x28" in message
    assert "missing: 'conv1.weight'" in message
    assert "unexpected: " in message
    assert "'1.weight'" in message


def test_nan_in_weights_is_refused_by_name(tmp_path):
    module = built(channels=3, height=4, width=5, num_classes=7)
    with torch.no_grad():
        module[4].bias[0] = float("nan")
    torch.save(module.state_dict(), tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"NaN or infinite values in: '4\.bias'"):
        open_model(tmp_path / "m.pt", arch=ARCH, images_shape=(3, 4, 5), device="cpu")


def test_an_unusable_file_is_refused_before_an_architecture_is_asked_for(tmp_path):
    (tmp_path / "m.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match="git lfs pull"):
        open_model(tmp_path / "m.pt", device="cpu")


@pytest.fixture
def saved(tmp_path):
    module = built(channels=3, height=4, width=5, num_classes=7)
    model = Classifier(
        module,
        input_shape=(3, 4, 5),
        num_classes=7,
        mean=(0.5,),
        std=(0.25,),
        class_names="abcdefg",
        arch="mlp(channels=3, height=4, width=5, num_classes=7, hidden=(5,))",
    )
    save_model(model, tmp_path / "saved.safetensors")
    return tmp_path / "saved.safetensors"


def test_declared_preprocessing_stands_above_the_card_only_where_it_is_declared(saved):
    model = open_model(saved, declared=Preprocessing(std=(), pixel_range=(0, 255)), device="cpu")
    assert (model.mean, model.std, model.pixel_range) == ((0.5,), (), (0.0, 255.0))
    model = open_model(saved, device="cpu")
    assert (model.mean, model.std, model.pixel_range) == ((0.5,), (0.25,), (0.0, 1.0))


def test_images_of_another_shape_than_the_card_are_refused(saved):
    with pytest.raises(UsageError, match=r"--resize 4x5 and --channels 3"):
        open_model(saved, images_shape=(3, 5, 5), device="cpu")


def test_arch_stands_above_the_card(saved):
    assert open_model(saved, arch=ARCH, device="cpu").class_names == tuple("abcdefg")
    with pytest.raises(ModelError, match=r"weights that fit mnist_cnn|weights that fit resnet8"):
        open_model(saved, arch="resnet8", device="cpu")


def test_another_number_of_classes_than_asked_for_is_refused(saved, tmp_path):
    with pytest.raises(ModelError, match=r"expected 5 classes .*got 7"):
        open_model(saved, num_classes=5, device="cpu")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(60, 5), nn.ReLU(), nn.Dropout(0), nn.Linear(5, 7))\n"
    )
    arch = f"{tmp_path / 'net.py'}:make"
    assert open_model(saved, arch=arch, device="cpu").arch == arch
    with pytest.raises(ModelError, match="5 classes"):
        open_model(saved, arch=arch, num_classes=5, device="cpu")


def test_a_file_of_ones_own_needs_the_shape_of_the_images(tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "m.pt")
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(3, 2)\n")
    with pytest.raises(UsageError, match="the shape of the images"):
        open_model(tmp_path / "m.pt", arch=f"{tmp_path / 'net.py'}:make", device="cpu")


def test_opening_leaves_the_global_random_numbers_alone(weights):
    before = torch.get_rng_state()
    open_model(weights, arch=ARCH, images_shape=(3, 4, 5), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_every_model_of_the_zoo_opens_through_its_own_file(shared):
    manifest = json.loads((shared / "zoo" / "manifest.json").read_text())
    assert len(manifest) == 12
    for entry in manifest:
        raw = entry["input_scale"] == "0..255"
        shape = {"M": (1, 28, 28), "Y": (3, 55, 47)}.get(entry["dataset"][0], (3, 32, 32))
        model = open_model(
            shared / "zoo" / f"{entry['id']}.safetensors",
            arch=f"{shared / 'zoo' / 'archs.py'}:{entry['id']}",
            images_shape=shape,
            declared=Preprocessing(
                mean=tuple(entry["mean"] or ()), std=tuple(entry["std"] or ()), pixel_range=(0, 255) if raw else None
            ),
            device="cpu",
        )
        classes = 43 if "GTSRB" in entry["dataset"] else 1283 if shape[1] == 55 else 10
        assert model.num_classes == classes, entry["id"]
        assert sum(t.numel() for t in model.module.state_dict().values()) == entry["params"], entry["id"]
        assert model.pixel_range == ((0, 255) if raw else (0, 1)), entry["id"]
        assert bool(model.mean) == bool(entry["mean"]), entry["id"]


def test_a_module_in_memory_is_wrapped_as_it_is():
    module = built(channels=3, height=4, width=5, num_classes=7)
    model = wrap(module, input_shape=(3, 4, 5), mean=(0.5,), std=(0.5,), pixel_range=(0, 255), class_names="abcdefg")
    assert model.module is module
    assert module.training
    assert (model.num_classes, model.mean, model.pixel_range) == (7, (0.5,), (0.0, 255.0))
    assert model.class_names == tuple("abcdefg")


def test_a_module_in_memory_passes_the_same_gate():
    module = built(channels=3, height=4, width=5, num_classes=7)
    with pytest.raises(ModelError, match="expected 3 classes"):
        wrap(module, input_shape=(3, 4, 5), num_classes=3)
    with pytest.raises(ModelError, match="forward pass through Sequential for images of 3x9x9"):
        wrap(module, input_shape=(3, 9, 9))
    with torch.no_grad():
        module[1].weight[0, 0] = float("inf")
    with pytest.raises(ModelError, match=r"'1\.weight'"):
        wrap(module, input_shape=(3, 4, 5))
