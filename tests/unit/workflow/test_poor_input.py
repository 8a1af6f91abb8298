"""Images and models that say too little: a clear outcome each, and never a wrong verdict."""

import math

import pytest
import torch
from torch import nn

from mantrap.core import ImageSet, Rng
from mantrap.detect import DETECTORS
from mantrap.errors import FailedError, ModelError, UsageError
from mantrap.models import wrap
from mantrap.records import Verdict
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from tests import headed, stage

DETECTORS_USED = ("neural_cleanse(steps=20, final_steps=8)", "mm_bd(starts=2, steps=20)", "last_layer")
SHAPE = (1, stage.SIDE, stage.SIDE)
FEW = "different images: fewer than 100"


def look(model, images, **changes):
    detectors = tuple(map(DETECTORS.create, DETECTORS_USED))
    return audit(model, images, plan=Plan(detectors=detectors, **changes), source=Source("x", "ab" * 32))


def of_classes(*wanted):
    """The images of some classes, 20 of each."""
    pixels, labels = stage.pixels(120)
    some = torch.isin(labels, torch.tensor(wanted))
    return ImageSet.from_array(pixels[some], labels[some])


def noise():
    """Images of another distribution, with labels that mean nothing."""
    pixels = torch.rand(120, *SHAPE, generator=Rng(1).torch()).mul(255).byte()
    return ImageSet.from_array(pixels, torch.arange(120) % stage.CLASSES)


@pytest.mark.parametrize("planted", [False, True], ids=["clean", "planted"])
@pytest.mark.parametrize(
    ("images", "said"),
    [
        (stage.image_set(60), FEW),
        (stage.image_set(6), FEW),
        (of_classes(2), FEW),
        (of_classes(0, 1, 3, 4, 5), "found no trigger"),
        (noise(), "so little that preprocessing or classes are probably not as declared"),
    ],
    ids=["10 of a class", "1 of a class", "one class", "a class missing", "another distribution"],
)
def test_images_that_say_too_little_clear_nobody_and_accuse_nobody(images, said, planted):
    record = look(headed.model(planted=planted), images)

    assert record.verdict is Verdict.INCONCLUSIVE
    assert any(said in reason for reason in record.barring)


def test_too_few_images_to_part_are_refused():
    with pytest.raises(UsageError, match="expected images for the part 'heldout'"):
        look(headed.model(planted=True), stage.image_set(2))


class Bent(nn.Module):
    """The headed network with something done to its answers."""

    def __init__(self, bend):
        super().__init__()
        self.inner, self.bend = headed.module(planted=False), bend

    def forward(self, images):
        return self.bend(images, self.inner(images))


def nan_where_bright(images, logits):
    return torch.where(images.flatten(1).mean(1, keepdim=True) > 0.5, math.nan, logits)


@pytest.mark.parametrize(
    ("bend", "error", "said"),
    [
        (lambda _, logits: 0 * logits + torch.arange(6.0), ModelError, "logits that depend on the image"),
        (nan_where_bright, FailedError, "expected finite logits on any image"),
    ],
    ids=["ignores its input", "no number off the images"],
)
def test_models_that_cannot_be_searched_meet_one_clear_error(bend, error, said):
    with pytest.raises(error, match=said):
        look(wrap(Bent(bend), input_shape=SHAPE), stage.image_set())


def test_a_budget_too_small_for_anything_ends_and_says_what_is_missing():
    record = look(headed.model(planted=True), stage.image_set(), budget=1e-3)

    assert record.verdict is Verdict.INCONCLUSIVE
    assert any("in its share of the time" in reason for reason in record.barring)
