"""What every detector promises, whatever its method; run with its ``quick`` spec on small planted models."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mantrap.core import (
    FORGETFUL,
    Cost,
    Detection,
    Detector,
    ImageSet,
    Memo,
    ReversedPatch,
    ReversedTrigger,
    ReversedWarp,
    Rng,
)
from mantrap.detect import DETECTORS
from mantrap.detect.heldout import FACTORS
from mantrap.errors import UsageError
from mantrap.ops.pairs import FEWEST_CLASSES
from mantrap.records import DetectionRecord
from mantrap.records.traits import TRAITS
from mantrap.workflow.assembly import detection_record
from mantrap.workflow.comparing import compare
from mantrap.workflow.norms import judge_labels
from mantrap.workflow.rundir import FolderMemo
from mantrap.workflow.shifting import compare_shifts
from mantrap.workflow.verdict import NOTICED_BELOW
from tests.nulls import SHIFTS, null_of, value_of
from tests.scans import EVERY_SIZE, SMALL, facts, scan

every_size = pytest.mark.parametrize("planted", EVERY_SIZE, ids=str)


def targets(detection: Detection) -> list[int]:
    return list(detection.scanned)


def test_a_detector_is_what_the_protocol_says(detector):
    assert isinstance(detector, Detector)


class TestResult:
    @every_size
    def test_it_is_well_formed_for_every_size_of_image_and_number_of_classes(self, detector, planted):
        detection = scan(detector, planted)

        assert DETECTORS.create(detection.detector) == detector
        assert detection.num_classes == planted.classes
        assert set(detection.suspects) <= set(range(planted.classes))
        assert len(set(detection.suspects)) == len(detection.suspects)
        assert detection.blind_spots
        assert detection.cost.forward >= detection.cost.backward >= 0
        assert detection.cost.forward > 0 or detection.notes
        for trigger in detection.triggers:
            far = detector.far if isinstance(trigger, ReversedWarp) else None
            self.assert_a_trigger_is_sound(trigger, planted.shape, far=far)
            assert detection.finding_for(trigger.target).norm is not None
        for finding in detection.labels:
            assert finding.censored <= (finding.success is None)

    @staticmethod
    def assert_a_trigger_is_sound(
        trigger: ReversedTrigger, shape: tuple[int, int, int], *, far: float | None = None
    ) -> None:
        """``far`` is how far a warp may move pixels before it is made stronger, as a share of the longer side."""
        ends, tensors = (-1.0, 1.0), {}
        if isinstance(trigger, ReversedPatch):
            ends, tensors = (0.0, 1.0), {"mask": (trigger.mask, shape[1:]), "pattern": (trigger.pattern, shape)}
        elif isinstance(trigger, ReversedWarp):
            ends, tensors = (-math.inf, math.inf), {"flow": (trigger.flow, (2, *shape[1:]))}
            assert 0 < trigger.norm <= max(FACTORS) * far * max(shape[1:]) * (1 + 1e-5)
        else:
            tensors = {"delta": (trigger.delta, shape)}
        for tensor, wanted in tensors.values():
            assert tensor.shape == wanted
            assert tensor.isfinite().all()
            assert ends[0] <= float(tensor.min()) <= float(tensor.max()) <= ends[1]
            assert not tensor.requires_grad
            assert tensor.device.type == "cpu"

    @every_size
    def test_every_pair_has_a_patch_of_its_norm_where_one_worked(self, pairer, planted):
        pairs = scan(pairer, planted).pairs

        assert (pairs is None) is (planted.classes < FEWEST_CLASSES)
        for pair, patch in () if pairs is None else pairs.patches.items():
            self.assert_a_trigger_is_sound(patch, planted.shape)
            assert patch.target == pair[1]
            assert patch.norm == pytest.approx(pairs.norms[pair], rel=1e-5)
        assert pairs is None or {p for p, norm in pairs.norms.items() if math.isfinite(norm)} == set(pairs.patches)

    @every_size
    def test_scores_are_finite(self, detector, planted):
        detection = scan(detector, planted)

        assert detection.score is None or math.isfinite(detection.score)
        assert detection.p_value is None or 0 < detection.p_value <= 1
        assert all(math.isfinite(index) for index in detection.indices.values())

    @every_size
    def test_its_traits_are_known_and_every_label_with_a_norm_has_one(self, labeller, planted):
        detection = scan(labeller, planted)
        found = {f.label for f in detection.labels if f.norm is not None}

        assert detection.traits
        for name, values in detection.traits.items():
            assert found <= set(values) <= set(range(planted.classes))
            assert all(TRAITS[name].height(value) is not None for value in values.values())

    @pytest.mark.parametrize("planted", [p for p in EVERY_SIZE if p.classes > 2], ids=str)
    def test_of_a_clean_model_no_label_stands_out_and_one_that_is_pushed_does(self, labeller, planted):
        null = null_of(between=None)
        for seed in range(3):
            traits = scan(labeller, planted, rng=Rng(seed)).traits
            pushed = min(set.intersection(*(set(values) for values in traits.values())))
            further = {name: {**values, pushed: push(name, values[pushed])} for name, values in traits.items()}

            plain, pushed_on = compare([traits], null), compare([further], null)

            assert plain.p_value >= NOTICED_BELOW
            assert pushed_on.p_value < NOTICED_BELOW
            assert pushed_on.first.label == pushed

    def test_its_record_goes_to_json_and_back(self, detector):
        model = SMALL.model()
        detection = scan(detector, model=model)
        record = detection_record(model, detection, judge_labels(detection))

        assert [entry.label for entry in record.labels] == sorted(f.label for f in detection.labels)
        assert {entry.label for entry in (*record.labels, *record.traits)} == set(targets(detection))
        assert DetectionRecord.from_json(record.to_json()) == record


def push(name: str, value: float) -> float:
    """The value of a trait, so much more suspicious."""
    return value_of(TRAITS[name], TRAITS[name].height(value) + 4.0)


class TestShifts:
    """Of a detector that looks at all classes at once, and so measures no label."""

    @every_size
    def test_each_is_likely_by_some_share_and_the_likeliest_has_a_patch_that_is_measured(self, mover, planted):
        detection = scan(mover, planted)
        shifts = detection.shifts

        assert set(shifts.likely) <= set(range(1, planted.classes))
        assert all(0 <= likely <= 1 for likely in shifts.likely.values())
        assert shifts.likely[shifts.patch.target] == max(shifts.likely.values())
        TestResult.assert_a_trigger_is_sound(shifts.patch, planted.shape)
        assert {label: rate.total for label, rate in shifts.moved.items()} == dict.fromkeys(range(planted.classes), 3)

    def test_of_single_labels_nothing_is_said(self, mover):
        detection = scan(mover)

        assert (detection.labels, detection.triggers, detection.suspects, detection.indices) == ((), (), (), {})
        assert (detection.score, detection.p_value, detection.traits) == (None, None, {})

    @every_size
    def test_of_a_clean_model_none_stands_out_and_one_that_is_pushed_does(self, mover, planted):
        for seed in range(3):
            likely = scan(mover, planted, rng=Rng(seed)).shifts.likely
            plain, pushed = (compare_shifts(of, planted.classes, SHIFTS) for of in (likely, {**likely, 1: 0.9}))

            assert plain.chance >= NOTICED_BELOW > pushed.chance
            assert pushed.by == 1

    def test_where_some_labels_only_are_asked_for_nothing_is_searched_and_a_note_says_so(self, mover, tmp_path):
        some, everything = (scan(mover, labels=labels, memo=FolderMemo(tmp_path)) for labels in ([3, 1], [3, 1, 0, 2]))

        assert (some.shifts, some.cost) == (None, Cost())
        assert some.notes == (
            "Only some labels were to be scanned, so what sends every class to another one was not searched.",
        )
        assert facts(everything) == facts(scan(mover))


class TestRandomness:
    def test_the_same_stream_gives_the_same_result(self, detector):
        assert facts(scan(detector, rng=Rng(3))) == facts(scan(detector, rng=Rng(3)))

    def test_another_stream_gives_other_numbers(self, searcher):
        assert facts(scan(searcher, rng=Rng(3))) != facts(scan(searcher, rng=Rng(4)))

    def test_where_nothing_is_searched_the_stream_makes_no_difference(self, reader):
        assert facts(scan(reader, rng=Rng(3))) == facts(scan(reader, rng=Rng(4)))

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
    def test_only_the_labels_that_were_asked_for_are_scanned(self, labeller):
        everything, some = scan(labeller), scan(labeller, labels=[3, 1])

        assert targets(everything) == list(range(SMALL.classes))
        assert targets(some) == [3, 1]
        assert set(some.suspects) <= {1, 3}
        assert set(some.indices) <= {1, 3}
        assert all(set(values) <= {1, 3} for values in some.traits.values())

    def test_only_pairs_that_lead_to_these_labels_are_scanned(self, pairer):
        everything, some = scan(pairer).pairs.norms, scan(pairer, labels=[3, 1]).pairs.norms

        assert set(everything) == {(a, b) for a in range(SMALL.classes) for b in range(SMALL.classes) if a != b}
        assert set(some) == {(a, b) for a, b in everything if b in (1, 3)}

    def test_fewer_labels_cost_less(self, searcher):
        assert scan(searcher, labels=[3, 1]).cost.forward < scan(searcher).cost.forward

    def test_where_nothing_is_searched_the_cost_is_that_of_a_look(self, reader):
        assert scan(reader, labels=[3, 1]).cost == scan(reader).cost == Cost(forward=1)

    @pytest.mark.parametrize("label", [-1, SMALL.classes])
    def test_a_label_that_the_model_does_not_have_is_refused(self, detector, label):
        with pytest.raises(UsageError, match=f"labels from 0 to {SMALL.classes - 1}, got .*{label}"):
            scan(detector, labels=[0, label])


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
    def test_a_killed_scan_that_goes_on_comes_to_the_same_result(self, searcher, tmp_path):
        self.assert_it_goes_on(searcher, tmp_path, saves=1)

    def test_so_does_one_that_was_killed_after_several_pieces(self, label_searcher, tmp_path):
        self.assert_it_goes_on(label_searcher, tmp_path, saves=2)

    @staticmethod
    def assert_it_goes_on(searcher: Detector, tmp_path: Path, *, saves: int) -> None:
        with pytest.raises(KeyboardInterrupt):
            scan(searcher, memo=Dying(FolderMemo(tmp_path), saves))
        kept = len(list(tmp_path.iterdir()))
        resumed = scan(searcher, memo=FolderMemo(tmp_path))

        assert kept == saves
        assert facts(resumed) == facts(scan(searcher, memo=FORGETFUL))

    def test_what_is_finished_is_not_done_again(self, searcher, tmp_path):
        first, passes = SMALL.model(), []
        for model in (first, SMALL.model()):
            count = []
            model.module.register_forward_hook(lambda *_, count=count: count.append(1))
            scan(searcher, model=model, memo=FolderMemo(tmp_path))
            passes.append(len(count))

        assert passes[1] < passes[0] / 2

    def test_the_order_in_which_pieces_were_finished_makes_no_difference(self, label_searcher, tmp_path):
        scan(label_searcher, labels=[2], memo=FolderMemo(tmp_path))

        assert facts(scan(label_searcher, memo=FolderMemo(tmp_path))) == facts(scan(label_searcher))

    def test_where_nothing_is_searched_nothing_is_kept(self, reader, tmp_path):
        scan(reader, memo=FolderMemo(tmp_path))

        assert list(tmp_path.iterdir()) == []
