"""An audit from Python takes what users have: modules, files, tensors, arrays, loaders."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mantrap
from mantrap.core import Classifier, ImageSet, Rng
from mantrap.detect import NeuralCleanse
from mantrap.errors import DataError, ModelError, UsageError
from mantrap.models import ARCHITECTURES, save_model
from mantrap.workflow.api import as_images

QUICK = NeuralCleanse(steps=2)


@pytest.fixture
def pixels():
    return torch.rand(120, 1, 6, 5, generator=Rng(0).torch())


@pytest.fixture
def labels():
    return torch.arange(120) % 3


@pytest.fixture
def module():
    with Rng(1).as_global():
        return nn.Sequential(nn.Flatten(), nn.Linear(30, 3))


def test_a_module_and_tensors(module, pixels, labels):
    before = {k: v.clone() for k, v in module.state_dict().items()}

    record = mantrap.audit(module, pixels, labels, num_classes=3, mean=[0.5], std=[0.5], detectors=[QUICK], seed=4)

    assert record.model.mean == (0.5,)
    assert record.model.file_name == "Sequential"
    assert record.data.images == 120
    assert record.data.labelled
    assert [entry.label for entry in record.labels] == [0, 1, 2]
    assert record.reproduction.seed == 4
    assert module.training
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_whatever_holds_the_images_the_record_is_the_same(module, pixels, labels):
    kinds = {
        "tensor": (pixels, labels),
        "array": (pixels.permute(0, 2, 3, 1).numpy(), labels.numpy()),
        "set": (ImageSet.from_array(pixels, labels), None),
        "loader": (DataLoader(TensorDataset(pixels, labels), batch_size=32), None),
    }
    records = {k: mantrap.audit(module, *given, detectors=[QUICK]) for k, given in kinds.items()}

    assert {record.data.digest for record in records.values()} == {records["tensor"].data.digest}
    assert all(record.detections == records["tensor"].detections for record in records.values())


def test_a_loader_without_labels(pixels):
    images = as_images(DataLoader(TensorDataset(pixels), batch_size=50), None)

    assert not images.labelled
    assert torch.equal(images.images(), pixels)


def test_a_saved_file_with_its_card_and_an_out_folder(pixels, labels, tmp_path):
    arch = "mlp(hidden=(), channels=1, height=6, width=5, num_classes=3)"
    with Rng(2).as_global():
        built = ARCHITECTURES.create(arch).build()
    path = tmp_path / "model.safetensors"
    save_model(Classifier(built, input_shape=(1, 6, 5), num_classes=3, arch=arch), path)

    record = mantrap.audit(str(path), pixels, labels, detectors=[QUICK], out=tmp_path / "run")

    assert record.model.file_name == "model.safetensors"
    assert mantrap.AuditRecord.from_json((tmp_path / "run" / "audit.json").read_text()) == record


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        ([], None, DataError, "a loader that is not empty"),
        ([("no", "tensors")], None, DataError, "str"),
        ([(torch.zeros(1, 1, 2, 2),) * 3], None, DataError, "images and labels"),
        (ImageSet.from_array(np.zeros((2, 3, 3), dtype=np.uint8)), [0, 1], UsageError, "bring"),
        (torch.zeros(2, 3), None, DataError, r"\(2, 3\)"),
    ],
)
def test_what_holds_no_images_is_refused(images, labels, error, message):
    with pytest.raises(error, match=message):
        as_images(images, labels)


def test_a_module_with_another_number_of_classes_is_refused(module, pixels, labels):
    with pytest.raises(ModelError, match="5"):
        mantrap.audit(module, pixels, labels, num_classes=5, detectors=[QUICK])


@pytest.mark.parametrize("beside", [{"mean": [0.5]}, {"std": [0.5]}, {"pixel_range": (0.0, 255.0)}, {"num_classes": 5}])
def test_a_classifier_brings_its_own_preprocessing(module, pixels, labels, beside):
    classifier = Classifier(module, input_shape=(1, 6, 5), num_classes=3)
    with pytest.raises(UsageError, match="its own preprocessing"):
        mantrap.audit(classifier, pixels, labels, detectors=[QUICK], **beside)

    assert mantrap.audit(classifier, pixels, labels, num_classes=3, detectors=[QUICK]).model.num_classes == 3


def test_probabilities_are_refused_with_the_remedy(module, pixels, labels):
    with pytest.raises(ModelError, match="softmax"):
        mantrap.audit(nn.Sequential(module, nn.Softmax(1)), pixels, labels, detectors=[QUICK])
