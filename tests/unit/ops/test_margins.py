"""The largest margin in the box, where it is known: for linear classifiers."""

import math

import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from mantrap.core import Rng
from mantrap.errors import FailedError
from mantrap.models import wrap
from mantrap.ops.margins import margins, maximum_margins

SHAPE = (1, 3, 4)


def linear(weight, bias):
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, len(weight)))
    module[1].weight.data.copy_(weight)
    module[1].bias.data.copy_(bias)
    return wrap(module.eval().requires_grad_(requires_grad=False), input_shape=SHAPE)


def climbed(model, labels=None, *, seed=0, at_once=8, starts=3, steps=60):
    labels = range(model.num_classes) if labels is None else labels
    return maximum_margins(model, list(labels), starts=starts, steps=steps, rate=0.1, rng=Rng(seed), at_once=at_once)


def test_a_margin_is_the_way_to_the_best_other_class():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]])

    assert margins(logits, torch.tensor([0, 2])).tolist() == [1.0, -6.0]


@pytest.mark.parametrize("seed", range(3))
def test_between_two_classes_every_pixel_goes_where_its_weight_points(seed):
    stream = Rng(seed).torch()
    weight, bias = torch.randn(2, 12, generator=stream), torch.randn(2, generator=stream)
    expected = [float((weight[c] - weight[1 - c]).clamp_min(0).sum() + bias[c] - bias[1 - c]) for c in range(2)]

    assert climbed(linear(weight, bias)).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_among_more_classes_it_is_nearly_what_linear_programming_finds(seed):
    stream = Rng(seed).torch()
    weight, bias = torch.randn(4, 12, generator=stream), torch.randn(4, generator=stream)
    found = climbed(linear(weight, bias), steps=200)
    for c in range(4):
        others = [k for k in range(4) if k != c]
        # Greatest t with (w_k - w_c) x + t <= b_c - b_k for every other k.
        rows = torch.cat([weight[others] - weight[c], torch.ones(3, 1)], dim=1)
        best = linprog(
            [0.0] * 12 + [-1.0],
            A_ub=rows.numpy(),
            b_ub=(bias[c] - bias[others]).numpy(),
            bounds=[(0, 1)] * 12 + [(None, None)],
        )
        assert -best.fun - 0.03 * abs(best.fun) <= float(found[c]) <= -best.fun + 1e-4


def test_a_label_does_not_depend_on_its_company():
    model = linear(torch.randn(4, 12, generator=Rng(5).torch()), torch.zeros(4))
    together = climbed(model, steps=5)

    assert torch.allclose(climbed(model, labels=(2,), steps=5), together[2:3], atol=1e-5)
    assert torch.allclose(climbed(model, labels=(3, 0), steps=5, at_once=1), together[[3, 0]], atol=1e-5)
    assert not torch.equal(climbed(model, steps=5, seed=1), together)


def test_logits_that_are_no_numbers_are_said():
    model = linear(torch.zeros(2, 12), torch.zeros(2))
    model.module[1].weight.fill_(math.inf)
    with pytest.raises(FailedError, match="expected finite logits on any image, got a margin of nan"):
        climbed(model)
