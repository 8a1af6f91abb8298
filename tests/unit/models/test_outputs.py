"""Outputs that no audit can rest on are refused, with the remedy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mantrap.core import Classifier
from mantrap.errors import ModelError
from mantrap.models import check_outputs, looks_like_probabilities
from mantrap.models.outputs import count_classes

IMAGES = torch.linspace(0, 1, 4 * 6).view(4, 1, 2, 3)


def linear(scale=1.0):
    layer = nn.Linear(6, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(18.0).view(3, 6).sin() * scale)
        layer.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    return nn.Sequential(nn.Flatten(), layer)


def classifier(*after, scale=1.0):
    return Classifier(nn.Sequential(linear(scale), *after), input_shape=(1, 2, 3), num_classes=3)


@given(st.lists(st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), min_size=1, max_size=5))
def test_every_softmax_looks_like_probabilities_and_no_log_softmax_does(rows):
    logits = torch.tensor(rows, dtype=torch.float32)
    assert looks_like_probabilities(logits.softmax(1))
    assert not looks_like_probabilities(logits.log_softmax(1))


def test_one_row_that_is_no_distribution_is_enough_to_acquit():
    rows = torch.tensor([[0.5, 0.5], [0.5, 0.6]])
    assert not looks_like_probabilities(rows)
    assert not looks_like_probabilities(torch.tensor([[1.5, -0.5]]))


@pytest.mark.parametrize("after", [(), (nn.LogSoftmax(1),)])
def test_logits_and_log_probabilities_pass(after):
    check_outputs(classifier(*after), IMAGES)


def test_probabilities_are_refused_with_the_remedy():
    with pytest.raises(ModelError, match=r"got probabilities.*Remove the final softmax.*FILE.py:NAME"):
        check_outputs(classifier(nn.Softmax(1)), IMAGES)


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(ModelError, match="NaN or infinite ones for 4 of 4 images"):
        check_outputs(classifier(scale=float("inf")), IMAGES)


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:1]])
def test_a_constant_answer_is_refused(images):
    with pytest.raises(ModelError, match="logits that depend on the image"):
        check_outputs(classifier(scale=0.0), images)


def test_the_model_stays_as_it_was():
    model = classifier()
    model.module.train()
    check_outputs(model, IMAGES)
    assert model.module.training
    assert all(p.requires_grad for p in model.module.parameters())


def test_classes_are_counted_in_evaluation_mode_and_the_mode_comes_back():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5))
    before = module[2].running_mean.clone()
    state = torch.get_rng_state()
    assert count_classes(module, (1, 2, 3), tried="it") == 5
    assert module.training
    assert torch.equal(module[2].running_mean, before)
    assert torch.equal(torch.get_rng_state(), state)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("module", "got"),
    [
        (Pair(), "tuple"),
        (nn.Identity(), r"\(2, 1, 2, 3\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(6, 1)), r"\(2, 1\)"),
        (nn.Flatten(0), r"\(12,\)"),
    ],
)
def test_what_is_no_row_of_logits_for_each_image_is_refused(module, got):
    with pytest.raises(ModelError, match=rf"logits of shape \(2, classes\).*got {got}.*Wrap the model"):
        count_classes(module, (1, 2, 3), tried="it")


def test_a_failing_forward_pass_says_what_was_tried_and_names_the_options():
    with pytest.raises(ModelError) as caught:
        count_classes(nn.Conv2d(3, 2, 1), (1, 2, 3), tried="conv for images of 1x2x3")
    message = str(caught.value)
    assert "conv for images of 1x2x3" in message
    assert "RuntimeError" in message
    assert "--channels" in message
    assert "--resize" in message


def test_another_number_of_classes_than_wanted_is_refused():
    with pytest.raises(ModelError, match="expected 4 classes from it, got 3"):
        count_classes(linear(), (1, 2, 3), tried="it", wanted=4)
