"""Accuracy and trigger success on a model whose every answer is known: the brightest channel is the class."""

import pytest
import torch
from torch import Tensor, nn

from mantrap.core import Classifier, ImageSet
from mantrap.errors import DataError, FailedError
from mantrap.ops.intervals import paired_difference
from mantrap.ops.scores import (
    accuracy,
    accuracy_difference,
    predictions,
    predictions_under,
    source_classes,
    trigger_success,
)
from tests.linear import Watched

LABELS = [0, 1, 2, 0, 1, 2, 2]
ANSWERS = [0, 1, 2, 1, 1, 0, 2]  # five of seven are right


class Brightest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.9)
        self.seen = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return self.drop(images).mean((2, 3))


@pytest.fixture
def model() -> Classifier:
    return Classifier(Brightest(), input_shape=(3, 2, 2), num_classes=3)


@pytest.fixture
def images() -> ImageSet:
    pixels = torch.full((7, 3, 2, 2), 0.25)
    for i, answer in enumerate(ANSWERS):
        pixels[i, answer] = 0.75
    return ImageSet.from_array(pixels, LABELS, name="seven")


def brighten(channel: int, level: float):
    def apply(batch: Tensor) -> Tensor:
        batch = batch.clone()
        batch[:, channel] = level
        return batch

    return apply


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_an_answer_does_not_depend_on_the_size_of_the_batch(model, images, size):
    assert predictions(model, images, batch_size=size).tolist() == ANSWERS
    assert max(model.module.seen) == min(size, 7)
    assert sum(model.module.seen) == 7


@pytest.mark.parametrize("size", [1, 3, None])
def test_answers_under_a_change_are_those_to_changed_images_in_their_order(model, images, size):
    turned = predictions_under(model, images, lambda batch: batch.roll(1, dims=1), batch_size=size)

    assert turned.tolist() == [(answer + 1) % 3 for answer in ANSWERS]
    assert model.module.training


def test_accuracy_counts_the_images_that_get_their_own_label(model, images):
    rate = accuracy(model, images, batch_size=2)

    assert (rate.hits, rate.total, rate.value) == (5, 7, 5 / 7)
    assert rate.low < rate.value < rate.high


def test_accuracy_needs_labels(model, images):
    with pytest.raises(DataError, match="expected labels for seven, got none"):
        accuracy(model, images.unlabelled())


def test_two_models_are_compared_image_by_image(model, images):
    class Next(Brightest):
        """Right where the other is wrong by one class, and wrong elsewhere."""

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).roll(-1, 1)

    other = Classifier(Next(), input_shape=(3, 2, 2), num_classes=3)
    change = accuracy_difference(model, other, images)

    # The first is wrong on images 3 (called 1, is 0) and 5 (called 0, is 2); the second calls those 0 and 2.
    assert (change.first, change.second) == (accuracy(model, images), accuracy(other, images))
    assert (change.first.hits, change.second.hits) == (5, 2)
    assert change == paired_difference(both=0, first=5, second=2, neither=0)
    with pytest.raises(DataError, match="expected labels for seven, got none"):
        accuracy_difference(model, other, images.unlabelled())


def test_without_labels_the_model_itself_says_what_an_image_is(model, images):
    assert source_classes(model, images).tolist() == LABELS
    assert source_classes(model, images.unlabelled()).tolist() == ANSWERS


def test_success_is_measured_on_images_of_other_classes_alone(model, images):
    # All seven are sent to class 2; three are of that class already.
    assert trigger_success(model, images, brighten(2, 1.0), 2, batch_size=3).total == 4
    assert trigger_success(model, images, brighten(2, 1.0), 2, batch_size=3).hits == 4

    # Nothing is changed: two of the three images of class 2 are called 2, which says nothing of the trigger.
    assert trigger_success(model, images, lambda batch: batch, 2).hits == 0

    # Class 1 is not among the first two; of the five others image 3 is called 1 without any trigger.
    assert (trigger_success(model, images, lambda batch: batch, 1).hits) == 1
    assert (trigger_success(model, images, lambda batch: batch, 1).total) == 5


def test_success_without_labels_leaves_out_what_the_model_calls_the_target(model, images):
    rate = trigger_success(model, images.unlabelled(), lambda batch: batch, 1)

    assert (rate.hits, rate.total) == (0, 4)


def test_known_sources_are_taken_as_they_are_and_cost_no_pass(model, images):
    sources = torch.tensor([1, 1, 1, 1, 1, 1, 0])
    rate = trigger_success(model, images.unlabelled(), brighten(1, 1.0), 1, sources=sources)

    assert (rate.hits, rate.total) == (1, 1)
    assert sum(model.module.seen) == 7


def test_where_all_images_are_of_the_target_there_is_nothing_to_measure(model, images):
    with pytest.raises(DataError, match="images of seven that do not belong to class 2, got 2 that all do"):
        trigger_success(model, images.subset([2, 5]), brighten(2, 1.0), 2)


def test_no_gradient_is_kept_and_the_mode_stays(model, images):
    kept = []

    def apply(batch: Tensor) -> Tensor:
        kept.append(torch.is_grad_enabled())
        return batch

    trigger_success(model, images, apply, 0)

    assert kept == [False]
    assert model.module.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_have_no_class(images, bad):
    class Broken(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels.mean((2, 3)) * bad

    broken = Classifier(Broken(), input_shape=(3, 2, 2), num_classes=3)

    with pytest.raises(FailedError, match="finite logits"):
        predictions(broken, images)
    with pytest.raises(FailedError, match="finite logits"):
        trigger_success(broken, images, brighten(1, 1.0), 1, sources=images.labels)


@pytest.mark.parametrize(("shape", "expected"), [((1, 28, 28), 256), ((3, 64, 64), 256), ((3, 224, 224), 20)])
def test_of_large_images_fewer_are_shown_at_a_time(shape, expected):
    count = expected + 1
    images = ImageSet.from_array(torch.zeros(count, *shape, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))
    model, seen = Watched(shape), []
    model.module.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    predictions(model, images)

    assert seen == [expected, 1]
