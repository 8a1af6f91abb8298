"""Accuracy with its interval."""

import pytest
import torch
from torch import nn

from mantrap.core import ImageSet
from mantrap.errors import DataError
from mantrap.models import wrap
from mantrap.training import evaluate


class Reads(nn.Module):
    """Answers the class that the pixel says: 0 for black, 1 for white."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def forward(self, images):
        return self.dropout(torch.cat([1 - images.flatten(1), images.flatten(1)], dim=1))


def test_right_answers_are_counted_and_the_interval_is_wilsons():
    pixels = torch.tensor([0.0] * 60 + [1.0] * 40).view(100, 1, 1, 1)
    labels = torch.zeros(100, dtype=torch.int64)
    labels[60:95] = 1
    network = Reads().train()
    rate = evaluate(wrap(network, input_shape=(1, 1, 1)), ImageSet.from_array(pixels, labels))
    assert (rate.hits, rate.total, rate.value) == (95, 100, 0.95)
    # As in every table of Wilson's interval for 95 of 100.
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.8882, 0.9785)
    assert network.training


def test_without_labels_there_is_nothing_to_compare_with():
    images = ImageSet.from_array(torch.zeros(3, 1, 1, 1))
    with pytest.raises(DataError, match="labels for images, got none"):
        evaluate(wrap(Reads(), input_shape=(1, 1, 1)), images)
