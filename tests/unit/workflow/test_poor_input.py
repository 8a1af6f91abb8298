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
LABELS, PUSHED = 21_841, 12_345
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


class OneAnswer(nn.Module):
    """Its logits depend on the image, its answer does not: the first class always wins, by far."""

    def forward(self, images):
        some = images.flatten(1).mean(1, keepdim=True)
        return torch.cat([100 + some, *(-some * k for k in range(1, stage.CLASSES))], 1)


def test_a_model_that_always_gives_the_same_answer_is_neither_cleared_nor_accused():
    record = look(wrap(OneAnswer(), input_shape=SHAPE), stage.image_set(120))

    assert record.verdict is Verdict.INCONCLUSIVE
    assert any("not surely better than the same answer for every image" in reason for reason in record.barring)


class Wide(nn.Module):
    """A linear network with as many classes as ImageNet-21k; the weights of one are far longer than all others."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(stage.SIDE**2, LABELS)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(LABELS, stage.SIDE**2, generator=Rng(2).torch()))
            self.head.weight[PUSHED] *= 3
            self.head.bias.zero_()

    def forward(self, images):
        return self.head(images.flatten(1))


def test_21841_labels_are_compared_and_the_last_layer_alone_accuses_none_of_them():
    record = audit(
        wrap(Wide(), input_shape=SHAPE),
        stage.image_set(120).unlabelled(),
        plan=Plan(detectors=(DETECTORS.create("last_layer"),)),
        source=Source("x", "ab" * 32),
    )
    lengths = [t for t in record.detections[0].traits if t.trait == "row_norm"]

    assert record.verdict is not Verdict.SUSPICIOUS
    assert len(lengths) == LABELS
    assert max(lengths, key=lambda t: t.value).label == PUSHED
