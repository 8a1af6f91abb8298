"""Which shifts are searched, what that costs, and what comes of models and images that are not as usual.

What it finds is in ``tests/oracles/test_all_to_all.py``, what every detector promises in ``tests/contracts``.
"""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mantrap.core import FORGETFUL, Cost, Rng
from mantrap.detect import DEFAULT_DETECTORS, AllToAll, all_to_all_patch
from mantrap.detect.blind_spots import EACH_TO_ANOTHER
from mantrap.detect.heldout import measure_shift
from mantrap.errors import FailedError, SpecError
from mantrap.models import wrap
from tests.moving import Moving
from tests.planted import Planted
from tests.scans import facts

SHORT = AllToAll(steps=6, images_per_step=4, precision="float32")
NEXT = Moving(by=1, classes=6)


def scan(search=SHORT, planted=NEXT, **keywords):
    keywords = {"heldout": planted.images(2, "heldout"), "rng": Rng(0)} | keywords
    clean = keywords.pop("clean", None) or planted.images(3, "scan")
    return search.detect(keywords.pop("model", None) or planted.model(), clean, **keywords)


def test_an_audit_looks_for_it_where_no_detector_is_named():
    assert AllToAll.name in DEFAULT_DETECTORS


class TestShifts:
    @pytest.mark.parametrize(
        ("classes", "shifts", "searched"),
        [
            (10, 4, [1, 9, 2, 8]),
            (10, 1, [1]),
            (5, 4, [1, 4, 2, 3]),
            (6, 9, [1, 5, 2, 4, 3]),
            (3, 4, [1, 2]),
            (2, 4, [1]),
        ],
    )
    def test_the_nearest_are_searched_those_forward_first(self, classes, shifts, searched):
        found = scan(dataclasses.replace(SHORT, shifts=shifts), Planted(classes=classes)).shifts

        assert list(found.likely) == searched

    def test_the_likeliest_is_shown_with_its_patch_measured_on_heldout_images(self):
        found, heldout = scan().shifts, NEXT.images(2, "heldout")

        assert found.patch.target == max(found.likely, key=found.likely.get)
        assert found.moved == measure_shift(NEXT.model(), heldout, found.patch, heldout.labels)
        assert found.success == sum(rate.hits for rate in found.moved.values()) / 12

    def test_each_search_is_what_it_would_be_alone(self):
        every, alone = scan().shifts, scan(dataclasses.replace(SHORT, shifts=1)).shifts

        assert alone.likely[1] == pytest.approx(every.likely[1], rel=1e-3)


class TestCost:
    def test_it_is_that_of_the_search_of_a_first_look_and_of_the_measuring(self):
        searched = 4 * 6 * 4

        assert scan().cost == Cost(forward=searched + 2 * 18 + 12, backward=searched)
        assert scan(heldout=NEXT.images(2, "heldout").unlabelled()).cost.forward == searched + 2 * 18 + 2 * 12

    def test_no_more_images_are_taken_than_wanted(self):
        assert scan(dataclasses.replace(SHORT, images=5)).cost.forward == 4 * 6 * 4 + 2 * 5 + 12


@dataclasses.dataclass
class Shelf:
    """A memo in memory."""

    kept: dict[str, dict[str, Tensor]] = dataclasses.field(default_factory=dict)

    def load(self, key: str) -> Any:
        return self.kept.get(key)

    def save(self, key: str, tensors: Any) -> None:
        self.kept[key] = dict(tensors)


class TestMemo:
    def test_what_was_searched_is_not_searched_again(self, monkeypatch):
        shelf = Shelf()
        first = scan(memo=shelf)
        monkeypatch.setattr(all_to_all_patch, "ShrinkingSearch", None)

        assert facts(scan(memo=shelf)) == facts(first)
        with pytest.raises(TypeError):
            scan(memo=FORGETFUL)

    def test_a_search_of_other_shifts_is_no_help(self):
        shelf, fewer = Shelf(), dataclasses.replace(SHORT, shifts=2)
        scan(fewer, memo=shelf)

        assert facts(scan(memo=shelf)) == facts(scan())


class TestImages:
    @pytest.mark.parametrize(("some", "seen"), [([4, 10, 16], 1), ([0], 1), ([0, 1], 2)])
    def test_of_less_than_half_of_the_classes_say_nothing_of_all_of_them(self, some, seen):
        found = scan(clean=NEXT.images(4, "scan").subset(some))

        assert found.shifts is None
        assert found.notes == (
            f"The model takes the images for {seen} of its classes; to say what moves all of them 3 are needed.",
        )
        assert EACH_TO_ANOTHER in found.blind_spots

    def test_of_half_of_the_classes_will_do(self):
        found = scan(clean=NEXT.images(4, "scan").subset([0, 1, 2])).shifts

        assert all(0 <= likely <= 1 for likely in found.likely.values())

    def test_held_out_may_be_a_single_one(self):
        found = scan(heldout=NEXT.images(1, "heldout").subset([0])).shifts

        assert {c: rate.total for c, rate in found.moved.items()} == {0: 1}

    def test_without_labels_the_models_own_answers_are_the_classes(self):
        with_labels = scan()
        without = scan(clean=NEXT.images(3, "scan").unlabelled(), heldout=NEXT.images(2, "heldout").unlabelled())

        assert facts(without)["shifts"] == facts(with_labels)["shifts"]


class Constant(nn.Module):
    """Gives every image the same logits."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        return self.logits + 0 * images.flatten(1).sum(1, keepdim=True)


class TestModels:
    def test_of_one_that_answers_all_alike_nothing_is_said(self):
        model = wrap(Constant(3.0, 0.0, 1.0), input_shape=(1, 12, 16))

        assert scan(model=model, planted=Planted(classes=3)).shifts is None

    @pytest.mark.parametrize("logits", [(math.nan, 0.0, 0.0), (math.inf, 0.0, 0.0)], ids=["nan", "inf"])
    def test_one_whose_output_is_no_number_is_an_error(self, logits):
        model = wrap(Constant(0.0, 0.0, 0.0), input_shape=(1, 12, 16))
        model.module.logits.data.copy_(torch.tensor(logits))
        with pytest.raises(FailedError, match="finite logits"):
            scan(model=model, planted=Planted(classes=3))

    def test_for_want_of_memory_it_takes_fewer_images_at_a_time_and_then_gives_up(self, monkeypatch):
        asked = []

        def short(model, images, arms, shrinking, rng, *, at_once):
            asked.append(at_once)
            raise MemoryError

        monkeypatch.setattr(all_to_all_patch, "ShrinkingSearch", short)
        with pytest.raises(FailedError, match="memory for 4 images in a pass"):
            scan()

        assert asked == sorted(asked, reverse=True)
        assert asked[-1] == SHORT.images_per_step


def test_it_sees_what_the_other_detectors_are_blind_to():
    assert EACH_TO_ANOTHER not in scan().blind_spots


def test_the_precision_is_handed_on(monkeypatch):
    asked, real = [], all_to_all_patch.begin
    monkeypatch.setattr(all_to_all_patch, "begin", lambda *a, **k: asked.append(k["precision"]) or real(*a, **k))
    for precision in ("auto", "float32"):
        scan(dataclasses.replace(SHORT, precision=precision))

    assert asked == ["auto", "float32"]


@pytest.mark.parametrize("bad", [{"shifts": 0}, {"images": 0}, {"memory": 0.0}, {"steps": 0}, {"end": 0.5}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        AllToAll(**bad)
