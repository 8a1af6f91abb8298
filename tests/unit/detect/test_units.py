"""A search is cut by what it needs: labels in order, each once, and never more than memory has room for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mantrap.detect.arm_triggers import PatchArms
from mantrap.detect.units import GIB, bytes_by_image, plan_units
from mantrap.models import wrap

SHAPE = (3, 8, 8)


def model(width=10):
    """Saves its input, and ``width`` numbers that the ReLU puts out, of each image: 4 bytes each."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 5))
    return wrap(layers, input_shape=SHAPE)


def plan(labels=range(100), *, memory=GIB, **settings):
    return plan_units(model(), labels, PatchArms(memory=memory / GIB, images_per_step=8, **settings), images=100)


@pytest.mark.parametrize("width", [10, 1000])
def test_what_an_image_adds_is_what_is_saved_of_it(width):
    # Weights are saved too, but not once for each image. A frozen linear layer needs its input for nothing.
    assert bytes_by_image(model(width)) == 4 * width


@given(st.permutations(range(150)), st.integers(10_000, 10_000_000))
def test_every_label_is_in_one_unit_whatever_their_order(labels, memory):
    units = plan(labels, memory=memory)

    assert [label for unit in units.labels for label in unit] == list(range(150))
    assert units == plan(range(150), memory=memory)


def test_units_and_passes_fit_in_what_there_is():
    arm, image, held = 6 * 4 * 64 * 4, 1.5 * 40 + 16 * 192, 100 * 4 * 192
    for memory in (200_000, 400_000, 2_000_000):
        units = plan(memory=memory)
        largest = max(map(len, units.labels))
        taken = held + units.at_once * image + 2 * largest * arm

        assert taken <= memory
        assert units.at_once % 8 == 0
    assert max(map(len, plan(memory=400_000).labels)) > max(map(len, plan(memory=200_000).labels))


def test_there_is_an_upper_end_and_a_lower_one():
    large, small = plan(memory=100 * GIB), plan(memory=1)

    assert (large.at_once, {len(unit) for unit in large.labels}) == (80, {16, 4})
    assert (small.at_once, {len(unit) for unit in small.labels}) == (8, {1})
    assert {len(unit) for unit in plan(labels_at_once=7).labels} == {7, 2}


def test_probing_leaves_the_model_as_it_was():
    one = model()
    one.module.train()
    bytes_by_image(one)

    assert one.module.training
    assert all(p.requires_grad and p.grad is None for p in one.module.parameters())
    assert torch.is_grad_enabled()
