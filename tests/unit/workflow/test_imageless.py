"""An audit without images: what looks at none has its say, and nothing is cleared or accused."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import mantrap
from mantrap.core import Detection
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS
from mantrap.errors import ModelError, UsageError
from mantrap.models import wrap
from mantrap.records import CheckStatus, Verdict
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from tests import headed, stage

SHAPE = (1, stage.SIDE, stage.SIDE)
SEARCHES = "neural_cleanse, universal_perturbation, universal_warp, all_to_all_patch"


def look(model, *, detectors=DEFAULT_DETECTORS, **changes):
    who = tuple(DETECTORS.create(d) if isinstance(d, str) else d for d in detectors)
    return audit(model, None, plan=Plan(detectors=who, **changes), source=Source("x", "ab" * 32))


def check(record, name):
    return next(one for one in record.checks if one.name == name)


@pytest.mark.parametrize("planted", [False, True], ids=["clean", "planted"])
def test_nothing_is_cleared_or_accused_and_what_was_left_out_is_named(planted):
    record = look(headed.model(planted=planted))

    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.suspects == ()
    assert any(f"nothing is cleared; left out: {SEARCHES}." in reason for reason in record.barring)
    assert check(record, "number of images").status is CheckStatus.WARNED
    assert [found.detector.partition("(")[0] for found in record.detections] == ["mm_bd", "last_layer"]
    assert (record.data.name, record.data.images, record.data.scan_images, record.data.heldout_images) == (
        "none",
        0,
        0,
        0,
    )
    assert (record.data.digest, record.data.labelled) == ("", False)


def test_the_label_that_stands_out_is_named_all_the_same():
    record = look(headed.model(planted=True))

    assert record.comparison.standings[0].label == stage.TARGET
    assert record.reasons[0].startswith(f"Label {stage.TARGET} stands out most, by how far its score can be driven")


def test_numbers_are_those_of_an_audit_with_images():
    model = headed.model(planted=True)
    without = look(model)
    beside = audit(
        model,
        stage.image_set(120),
        plan=Plan(detectors=tuple(map(DETECTORS.create, ("mm_bd", "last_layer")))),
        source=Source("x", "ab" * 32),
    )
    assert [found.traits for found in without.detections] == [found.traits for found in beside.detections]


@pytest.mark.parametrize("asked", [{}, {"copy": True, "control": True}], ids=["as usual", "asked for"])
def test_neither_a_copy_nor_a_control_learns_from_noise(asked):
    record = look(headed.model(planted=True), **asked)

    assert record.copy is None
    assert "there are no images" in check(record, "copy").message
    assert record.control is None
    assert {"copy", "control"}.isdisjoint(entry.stage for entry in record.cost)


def test_references_are_compared_with():
    trusted = mantrap.audit(headed.model(planted=True), None, references=[headed.model(planted=False)])
    assert len(trusted.references) == 1
    assert trusted.verdict is Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class Watcher:
    """A detector of somebody's own, which notes what it was given."""

    name: ClassVar[str] = "watcher"
    quick: ClassVar[str] = "watcher()"

    def detect(self, *given, **more):
        raise AssertionError(f"it looks at images, and there are none: {given}, {more}")


@dataclass(frozen=True)
class Blind(Watcher):
    """The same, which says that it needs no images."""

    name: ClassVar[str] = "blind"
    needs_images: ClassVar[bool] = False

    def detect(self, model, clean, **more):
        del more
        return Detection(detector="blind()", num_classes=model.num_classes, notes=(clean.name,))


def test_a_detector_of_your_own_is_asked_where_it_says_that_it_needs_none():
    record = look(headed.model(planted=False), detectors=[Watcher(), Blind()])

    assert [found.detector for found in record.detections] == ["blind()"]
    assert record.detections[0].notes == ("none",)
    assert any("left out: watcher." in reason for reason in record.barring)


def test_where_nothing_was_left_out_nothing_is_said_of_it():
    record = look(headed.model(planted=False), detectors=["last_layer"])

    assert not any("left out" in reason for reason in record.barring)
    assert any("nothing is cleared" in reason for reason in record.barring)


def test_nobody_left_to_look_is_refused():
    with pytest.raises(UsageError, match=r"no images, and neural_cleanse.*name mm_bd or last_layer"):
        look(headed.model(planted=False), detectors=["neural_cleanse"])


def test_a_module_needs_the_shape_of_an_image():
    with pytest.raises(UsageError, match=r"Give mantrap\.models\.wrap\(module, input_shape"):
        mantrap.audit(headed.module(planted=False), None)


def test_a_model_that_does_not_answer_is_refused_as_ever():
    class Constant(nn.Module):
        def forward(self, images):
            return torch.tensor([1.0, 2.0, 3.0]).repeat(len(images), 1)

    with pytest.raises(ModelError, match="logits that depend on the image"):
        look(wrap(Constant(), input_shape=SHAPE), detectors=["mm_bd"])
