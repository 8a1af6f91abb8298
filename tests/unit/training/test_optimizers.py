"""Every optimiser takes the steps that its paper says, and learns."""

import math

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.errors import SpecError
from mantrap.models import wrap
from mantrap.training import OPTIMIZERS, Recipe, fit


class Line(nn.Module):
    """Logits w and 0 for a white pixel: the loss is log(1 + exp(-w)) for label 0, its gradient -1 / (1 + exp(w))."""

    def __init__(self, weight=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, images):
        answer = self.weight * images.flatten(1)
        return torch.cat([answer, torch.zeros_like(answer)], dim=1)


def gradient(w):
    return -1 / (1 + math.exp(w))


def weight_after(steps, optimizer, start=0.0, schedule="constant"):
    """The weight after so many updates, each on one white pixel of label 0."""
    model = Classifier(Line(start), input_shape=(1, 1, 1), num_classes=2)
    white = ImageSet.from_array(torch.ones(1, 1, 1, 1), [0])
    recipe = Recipe(epochs=steps, batch_size=1, optimizer=optimizer, schedule=schedule)
    return float(fit(model, white, recipe=recipe, rng=Rng(0)).model.module.weight.detach())


def test_plain_sgd_goes_down_the_gradient():
    first = 0 - 0.5 * gradient(0)
    assert weight_after(1, "sgd(lr=0.5)") == pytest.approx(first)
    assert weight_after(2, "sgd(lr=0.5)") == pytest.approx(first - 0.5 * gradient(first))


def test_momentum_adds_a_share_of_the_last_update():
    before = gradient(0)
    first = -0.5 * before
    velocity = 0.9 * before + gradient(first)
    assert weight_after(1, "sgd(lr=0.5, momentum=0.9)") == pytest.approx(first)
    assert weight_after(2, "sgd(lr=0.5, momentum=0.9)") == pytest.approx(first - 0.5 * velocity)


def test_nesterov_looks_ahead_along_the_momentum():
    before = gradient(0)
    first = -0.5 * (before + 0.9 * before)
    velocity = 0.9 * before + gradient(first)
    second = first - 0.5 * (gradient(first) + 0.9 * velocity)
    assert weight_after(1, "sgd(lr=0.5, momentum=0.9, nesterov=True)") == pytest.approx(first)
    assert weight_after(2, "sgd(lr=0.5, momentum=0.9, nesterov=True)") == pytest.approx(second)


def test_weight_decay_is_an_l2_penalty():
    expected = 2 - 0.5 * (gradient(2) + 0.1 * 2)
    assert weight_after(1, "sgd(lr=0.5, weight_decay=0.1)", start=2.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        # The first step of each has the size of the learning rate, whatever the gradient; RMSprop divides by the root
        # of 1 - alpha of its square, and AdamW takes its share of the weight away first.
        ("adagrad(lr=0.03)", 1 + 0.03),
        ("rmsprop(lr=0.03, alpha=0.75)", 1 + 0.03 / 0.5),
        ("adam(lr=0.03)", 1 + 0.03),
        ("adamw(lr=0.03, weight_decay=0.2)", 1 - 0.03 * 0.2 + 0.03),
    ],
)
def test_the_first_step_of_the_adaptive_ones(optimizer, expected):
    assert weight_after(1, optimizer, start=1.0) == pytest.approx(expected, rel=1e-6)


def test_the_schedule_scales_every_step():
    first = -0.5 * gradient(0)
    second = first - 0.5 / 2 * gradient(first)
    assert weight_after(2, "sgd(lr=0.5)", schedule="inverse_time(decay=1.0)") == pytest.approx(second)


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.names)
def test_every_optimiser_learns_what_a_line_can_part(optimizer, batch_size):
    torch_rng = torch.Generator().manual_seed(1)
    labels = torch.arange(40) % 2
    pixels = torch.rand(40, 1, 2, 2, generator=torch_rng) * 0.3
    pixels[labels == 1, :, :, 1] += 0.6
    with Rng(0).as_global():
        model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), input_shape=(1, 2, 2))
    images = ImageSet.from_array(pixels, labels)
    slow = {"adagrad": "adagrad(lr=0.1)", "adam": "adam(lr=0.01)", "adamw": "adamw(lr=0.01)"}
    recipe = Recipe(epochs=12, batch_size=batch_size, optimizer=slow.get(optimizer, optimizer))
    epochs = fit(model, images, recipe=recipe, rng=Rng(0)).record.epochs
    assert len(epochs) == 12
    assert epochs[-1].loss < 0.97 * epochs[0].loss
    assert epochs[-1].accuracy >= epochs[0].accuracy


@pytest.mark.parametrize(
    "spec",
    [
        "sgd(lr=0)",
        "sgd(momentum=1)",
        "sgd(nesterov=True)",
        "sgd(weight_decay=-0.1)",
        "adagrad(lr=-1)",
        "rmsprop(alpha=1.0)",
        "rmsprop(momentum=1.0)",
        "adam(betas=(0.9, 1.0))",
        "adamw(betas=(-0.1, 0.9))",
        "adam(lr=0.1, momentum=0.9)",
        "lion",
    ],
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        OPTIMIZERS.create(spec)
