"""A pattern through a mask, and how transparent it is."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import TRIGGERS, ready
from mantrap.poison.triggers import for_poisoning

MASK = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
PATTERN = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.5]]])
GREY = torch.full((2, 1, 2, 3), 0.8)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("overlay", [[0.8, 0.0, 0.8], [0.8, 1.0, 0.5]]),
        ("overlay(transparency=0.75)", [[0.8, 0.6, 0.8], [0.8, 0.85, 0.725]]),
    ],
)
def test_so_much_of_the_image_shows_through_inside_the_mask(spec, expected):
    trigger = ready(spec, {"mask": MASK, "pattern": PATTERN})
    torch.testing.assert_close(trigger(GREY, rng=Rng(0)), torch.tensor(expected).expand_as(GREY))


@pytest.mark.parametrize("spec", ["overlay(transparency=1.0)", "overlay(transparency=-0.1)"])
def test_a_transparency_out_of_range_is_refused(spec):
    with pytest.raises(SpecError, match="transparency"):
        TRIGGERS.create(spec)


def test_no_training_set_is_poisoned_with_it():
    with pytest.raises((SpecError, UsageError), match="before the training"):
        for_poisoning("overlay")
