"""What every detector promises, whatever its method; run with its ``quick`` spec on small planted models."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mantrap.core import FORGETFUL, Classifier, Detection, Detector, ImageSet, Memo, ReversedTrigger, Rng
from mantrap.detect import DETECTORS
from mantrap.errors import MantrapError, UsageError
from mantrap.records import DetectionRecord
from mantrap.workflow.assembly import detection_record
from mantrap.workflow.rundir import FolderMemo
from mantrap.workflow.verdict import judge_labels
from tests.planted import Planted

SMALL = Planted(shape=(1, 7, 9), classes=4)
EVERY_SIZE = (
    SMALL,
    Planted(shape=(3, 9, 7), classes=4, seed=1),
    Planted(shape=(1, 8, 8), classes=2, seed=2),
    Planted(shape=(3, 8, 8), classes=10, seed=3),
)

every_size = pytest.mark.parametrize("planted", EVERY_SIZE, ids=str)


@pytest.fixture(params=DETECTORS, ids=lambda kind: kind.name)
def detector(request) -> Detector:
    return DETECTORS.create(request.param.quick)


def scan(
    detector: Detector, planted: Planted = SMALL, *, model: Classifier | None = None, **keywords: Any
) -> Detection:
    keywords = {"heldout": planted.images(3, "heldout"), "rng": Rng(0)} | keywords
    clean = keywords.pop("clean", None) or planted.images(4, "scan")
    return detector.detect(model or planted.model(), clean, **keywords)


def facts(detection: Detection) -> dict[str, Any]:
    """Everything a detection holds, tensors as bytes: equal only if bitwise equal."""
    plain = {name: value for name, value in vars(detection).items() if name not in ("triggers", "extra")}
    return {
        **plain,
        "triggers": [{k: exact(v) for k, v in vars(trigger).items()} for trigger in detection.triggers],
        "extra": {name: exact(value) for name, value in detection.extra.items()},
    }


def exact(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), str(value.dtype), value.detach().numpy().tobytes()
    return value


def targets(detection: Detection) -> list[int]:
    return list(detection.scanned)


def test_a_detector_is_what_the_protocol_says(detector):
    assert isinstance(detector, Detector)


class TestResult:
    @every_size
    def test_it_is_well_formed_for_every_size_of_image_and_number_of_classes(self, detector, planted):
        detection = scan(detector, planted)
        channels, height, width = planted.shape

        assert DETECTORS.create(detection.detector) == detector
        assert detection.num_classes == planted.classes
        assert set(detection.suspects) <= set(range(planted.classes))
        assert len(set(detection.suspects)) == len(detection.suspects)
        assert detection.blind_spots
        assert detection.cost.forward >= detection.cost.backward >= 0
        assert detection.cost.forward > 0
        for trigger in detection.triggers:
            assert trigger.mask.shape == (height, width)
            assert trigger.pattern.shape == (channels, height, width)
            self.assert_a_trigger_is_sound(trigger)
            assert detection.finding_for(trigger.target).norm is not None
        for finding in detection.labels:
            assert finding.censored <= (finding.success is None)

    @staticmethod
    def assert_a_trigger_is_sound(trigger: ReversedTrigger) -> None:
        for tensor in (trigger.mask, trigger.pattern):
            assert float(tensor.min()) >= 0.0
            assert float(tensor.max()) <= 1.0
            assert not tensor.requires_grad
            assert tensor.device.type == "cpu"

    @every_size
    def test_scores_are_finite(self, detector, planted):
        detection = scan(detector, planted)

        assert detection.score is None or math.isfinite(detection.score)
        assert detection.p_value is None or 0 < detection.p_value <= 1
        assert all(math.isfinite(margin) for margin in detection.margins.values())
        assert all(math.isfinite(index) for index in detection.indices.values())

    @every_size
    def test_a_clean_model_is_not_suspicious(self, detector, planted):
        for seed in range(3):
            assert not any(judged.strong for judged in judge_labels(scan(detector, planted, rng=Rng(seed))))

    def test_its_record_goes_to_json_and_back(self, detector):
        model = SMALL.model()
        detection = scan(detector, model=model)
        record = detection_record(model, detection, judge_labels(detection))

        assert [entry.label for entry in record.labels or record.margins] == sorted(targets(detection))
        assert DetectionRecord.from_json(record.to_json()) == record


class TestRandomness:
    def test_the_same_stream_gives_the_same_result(self, detector):
        assert facts(scan(detector, rng=Rng(3))) == facts(scan(detector, rng=Rng(3)))

    def test_another_stream_gives_other_numbers(self, detector):
        assert facts(scan(detector, rng=Rng(3))) != facts(scan(detector, rng=Rng(4)))

    def test_the_global_streams_are_neither_read_nor_moved(self, detector):
        np.random.seed(1)  # noqa: NPY002 - the global stream is the point
        torch.manual_seed(1)
        before = global_streams()
        first = facts(scan(detector))
        after = global_streams()
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002

        assert after == before
        assert facts(scan(detector)) == first


def global_streams() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return kind, keys.tobytes(), rest, torch.get_rng_state().numpy().tobytes()


def test_nothing_of_ours_imports_the_global_stream_of_python(root):
    """Its state cannot be watched here: the shape checker draws from it at every call that it checks."""
    imports = re.compile(r"^\s*(import random\b|from random\b)", re.MULTILINE)

    assert [path for path in (root / "src").rglob("*.py") if imports.search(path.read_text())] == []


class TestImages:
    def test_one_image_of_each_class_will_do(self, detector):
        detection = scan(detector, clean=SMALL.images(1, "scan"), heldout=SMALL.images(1, "heldout"))

        assert detection.num_classes == SMALL.classes

    def test_one_image_will_do(self, detector):
        one, other = SMALL.images(1, "scan").subset([0]), SMALL.images(1, "heldout").subset([0])

        assert scan(detector, clean=one, heldout=other).num_classes == SMALL.classes

    def test_images_without_labels_will_do(self, detector):
        clean, heldout = SMALL.images(4, "scan"), SMALL.images(3, "heldout")
        with_labels = scan(detector, clean=clean, heldout=heldout)
        without = scan(detector, clean=clean.unlabelled(), heldout=heldout.unlabelled())

        # The model is right on every image, so its own answers are the labels.
        assert facts(without)["triggers"] == facts(with_labels)["triggers"]
        assert without.score == with_labels.score

    def test_the_images_are_left_as_they_are(self, detector):
        clean, heldout = SMALL.images(4, "scan"), SMALL.images(3, "heldout")
        pixels, labels = clean.images(), clean.labels.clone()
        twins = [ImageSet(s.source, s.labels).digest() for s in (clean, heldout)]
        scan(detector, clean=clean, heldout=heldout)

        assert [ImageSet(s.source, s.labels).digest() for s in (clean, heldout)] == twins
        assert torch.equal(clean.images(), pixels)
        assert torch.equal(clean.labels, labels)


class TestLabels:
    def test_only_the_labels_that_were_asked_for_are_scanned(self, detector):
        everything, some = scan(detector), scan(detector, labels=[3, 1])

        assert targets(everything) == list(range(SMALL.classes))
        assert targets(some) == [3, 1]
        assert set(some.suspects) <= {1, 3}
        assert set(some.indices) <= {1, 3}
        assert some.cost.forward < everything.cost.forward

    @pytest.mark.parametrize("label", [-1, SMALL.classes])
    def test_a_label_that_the_model_does_not_have_is_refused(self, detector, label):
        with pytest.raises(UsageError, match=f"labels from 0 to {SMALL.classes - 1}, got .*{label}"):
            scan(detector, labels=[0, label])


def snapshot(model: Classifier) -> dict[str, Any]:
    """All there is to a module: values, modes, gradients, and whose hooks hang on it."""
    module = model.module
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        "values": {name: exact(tensor) for name, tensor in tensors.items()},
        "identities": {name: id(tensor) for name, tensor in tensors.items()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "grads": {name: (id(tensor.grad), exact(tensor.grad)) for name, tensor in tensors.items()},
        "modes": {name: part.training for name, part in module.named_modules()},
        "hooks": {
            (name, table): dict(hooks)
            for name, part in module.named_modules()
            for table, hooks in vars(part).items()
            if table.endswith("_hooks") and isinstance(hooks, dict)
        },
    }


def in_use() -> Classifier:
    """A model somebody is at work with: a gradient here, a frozen weight there, one part in eval mode, a hook."""
    model = SMALL.model()
    linear = model.module.linear
    linear.weight.grad = torch.full_like(linear.weight, 0.5)
    linear.bias.requires_grad_(False)
    model.module.drop.eval()
    linear.register_forward_hook(lambda _module, _inputs, output: output)
    return model


@contextmanager
def breaking_at(module: nn.Module, call: int) -> Iterator[None]:
    """Inside, the forward pass of this number, from 0, raises after batch normalisation has seen the batch."""
    calls = 0

    def breaks(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > call:
            raise ConnectionAbortedError("the machine room is on fire")

    handle = module.drop.register_forward_hook(breaks)
    try:
        yield
    finally:
        handle.remove()


class TestModel:
    def test_it_is_bitwise_unchanged(self, detector):
        model = in_use()
        before, digest = snapshot(model), model.digest()
        scan(detector, model=model)

        assert snapshot(model) == before
        assert model.digest() == digest

    @pytest.mark.parametrize("call", [0, 5])
    def test_it_is_bitwise_unchanged_after_a_forward_pass_that_raises(self, detector, call):
        model = in_use()
        before = snapshot(model)
        with pytest.raises(ConnectionAbortedError, match="on fire"), breaking_at(model.module, call):
            scan(detector, model=model)

        assert snapshot(model) == before

    @pytest.mark.parametrize("training", [True, False])
    def test_its_mode_makes_no_difference(self, detector, training):
        model = SMALL.model()
        model.module.train(training)

        assert facts(scan(detector, model=model)) == facts(scan(detector))

    def test_an_output_that_is_no_number_is_an_error(self, detector):
        model = SMALL.model()
        model.module.linear.bias.data.fill_(math.nan)
        with pytest.raises(MantrapError, match="finite"):
            scan(detector, model=model)


class TestSurroundings:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_the_grad_mode_makes_no_difference_and_stays(self, detector, enabled):
        with torch.set_grad_enabled(enabled):
            detection = scan(detector)
            after = torch.is_grad_enabled()

        assert after is enabled
        assert facts(detection) == facts(scan(detector))

    def test_nothing_is_printed(self, detector, capfd):
        scan(detector)

        assert capfd.readouterr() == ("", "")

    def test_progress_comes_to_its_total(self, detector):
        watch = Watch()
        quiet, watched = scan(detector), scan(detector, progress=watch)

        assert watch.totals
        assert watch.done == pytest.approx(watch.totals)
        assert facts(watched) == facts(quiet)


@dataclass
class Watch:
    """An observer that adds up."""

    totals: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    done: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str, total: float) -> Iterator["Watched"]:
        self.totals[name] += total
        yield Watched(self, name)


@dataclass
class Watched:
    watch: Watch
    name: str

    def advance(self, amount: float = 1, note: str = "") -> None:  # noqa: ARG002 - the protocol has it
        self.watch.done[self.name] += amount


@dataclass
class Dying:
    """A memo whose process is killed after a number of saves."""

    memo: Memo
    saves: int

    def load(self, key: str) -> dict[str, Tensor] | None:
        return self.memo.load(key)

    def save(self, key: str, tensors: dict[str, Tensor]) -> None:
        self.memo.save(key, tensors)
        self.saves -= 1
        if self.saves == 0:
            raise KeyboardInterrupt


class TestMemo:
    @pytest.mark.parametrize("saves", [1, 2])
    def test_a_killed_scan_that_goes_on_comes_to_the_same_result(self, detector, tmp_path, saves):
        with pytest.raises(KeyboardInterrupt):
            scan(detector, memo=Dying(FolderMemo(tmp_path), saves))
        kept = len(list(tmp_path.iterdir()))
        resumed = scan(detector, memo=FolderMemo(tmp_path))

        assert kept == saves
        assert facts(resumed) == facts(scan(detector, memo=FORGETFUL))

    def test_what_is_finished_is_not_done_again(self, detector, tmp_path):
        first, passes = SMALL.model(), []
        for model in (first, SMALL.model()):
            count = []
            model.module.register_forward_hook(lambda *_, count=count: count.append(1))
            scan(detector, model=model, memo=FolderMemo(tmp_path))
            passes.append(len(count))

        assert passes[1] < passes[0] / 2

    def test_the_order_in_which_pieces_were_finished_makes_no_difference(self, detector, tmp_path):
        scan(detector, labels=[2], memo=FolderMemo(tmp_path))

        assert facts(scan(detector, memo=FolderMemo(tmp_path))) == facts(scan(detector))
