"""A guarded model as an ONNX graph: it answers as the model and its guard do, or is not written."""

import importlib

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, Rng
from mantrap.errors import FailedError, MissingExtraError, UsageError
from mantrap.guard import Neighbours, NeuronFilter, Strip
from mantrap.ops.recovered import put_on
from mantrap.records import GuardCard
from mantrap.workflow.guarded_onnx import OUTPUTS, export_guarded
from tests import guarding, stage

GUARDS = (Neighbours(), NeuronFilter(share=0.1), Strip(overlays=4))


def answers(path, images):
    """What the graph in a file says, by the names of its outputs."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    made = session.run(list(OUTPUTS), {"images": images.numpy()})
    return dict(zip(OUTPUTS, map(torch.from_numpy, made), strict=True))


@pytest.fixture(params=GUARDS, ids=lambda guard: guard.name, scope="module")
def exported(request, tmp_path_factory):
    """A fitted guard, and its file."""
    pytest.importorskip("onnxscript")
    fitted = guarding.guarded(request.param)
    path = tmp_path_factory.mktemp("onnx") / "guarded.onnx"
    export_guarded(path, fitted, guarding.VAST)
    return fitted, path


class TestGraph:
    @pytest.mark.parametrize("count", [1, 3, 50])
    def test_answers_as_the_model_and_its_guard_do(self, exported, count):
        fitted, path = exported
        images = guarding.VAST.images(range(100, 100 + count))
        images[::2] = put_on(images[::2], guarding.TRIGGER)
        said = answers(path, images)

        with torch.no_grad():
            assert torch.allclose(said["logits"], fitted.model.logits(images), atol=1e-4)
        assert torch.allclose(said["suspicion"], fitted.score(images), atol=1e-4, rtol=1e-4)
        assert torch.equal(said["flagged"], said["suspicion"] > fitted.threshold)

    def test_flags_triggers_and_few_others(self, exported):
        fitted, path = exported
        images = guarding.VAST.images(range(200))
        images = images[guarding.VAST.labels[:200] != guarding.TRIGGER.target]
        clean = answers(path, images)["flagged"].float().mean()
        triggered = answers(path, put_on(images, guarding.TRIGGER))["flagged"].float().mean()

        assert clean < 0.25
        assert triggered > 0.9 or (fitted.guard.name == "strip" and triggered > 2 * clean)

    def test_holds_its_card(self, exported):
        onnx = pytest.importorskip("onnx")
        fitted, path = exported
        [entry] = [entry for entry in onnx.load(path).metadata_props if entry.key == "mantrap.guard"]
        card = GuardCard.from_json(entry.value)
        assert (card.threshold, card.model_digest) == (fitted.threshold, fitted.model.digest())


class Wrong(nn.Module):
    """A network that answers otherwise in a graph."""

    def __init__(self):
        super().__init__()
        self.inner = guarding.network()

    def forward(self, images):
        return self.inner(images) + (0.01 if torch.compiler.is_exporting() else 0.0)


class Branching(nn.Module):
    """A network that looks at its input to choose a way, which no graph can follow."""

    def __init__(self):
        super().__init__()
        self.inner = guarding.network()

    def forward(self, images):
        return self.inner(images) if float(images.sum()) > -1 else self.inner(-images)


class TestRefusals:
    @pytest.fixture
    def refused(self, tmp_path):
        """What is said of a guarded network of one's own; nothing may be written."""
        pytest.importorskip("onnxscript")

        def told(network):
            model = Classifier(network.eval(), input_shape=guarding.SHAPE, num_classes=stage.CLASSES)
            fitted = Neighbours().fit(model, guarding.CLEAN, fpr=guarding.FPR, rng=Rng(0))
            with pytest.raises(FailedError) as caught:
                export_guarded(tmp_path / "x.onnx", fitted, guarding.VAST)
            assert not list(tmp_path.iterdir())
            return caught.value

        return told

    def test_a_graph_that_answers_otherwise_is_not_written(self, refused):
        assert "differs by 0.0" in refused(Wrong()).got

    def test_a_network_that_cannot_be_exported_is_one_error(self, refused, capfd):
        error = refused(Branching())
        assert "torch.onnx" in error.expected
        assert "\n" not in error.got
        assert capfd.readouterr() == ("", "")

    def test_the_name_must_end_as_it_should(self, tmp_path):
        with pytest.raises(UsageError, match=r"ends in \.onnx"):
            export_guarded(tmp_path / "x.bin", guarding.guarded(GUARDS[0]), guarding.VAST)

    def test_without_the_extra_it_is_named(self, tmp_path, monkeypatch):
        def refuse(name):
            raise ImportError(name)

        monkeypatch.setattr(importlib, "import_module", refuse)
        with pytest.raises(MissingExtraError, match=r"pip install 'mantrap\[onnx\]'"):
            export_guarded(tmp_path / "x.onnx", guarding.guarded(GUARDS[0]), guarding.VAST)
