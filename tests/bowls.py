"""Models of one or two pixels and of known slopes, for evasions whose every step can be worked out by hand."""

import torch
from torch import nn

from mantrap.core import Classifier, Problem


class Bowl(nn.Module):
    """Two logits: ``-sum(steepness * (x - middle)^2)`` of the second class, and 0 of the first."""

    def __init__(self, middle, steepness):
        super().__init__()
        self.middle, self.steepness = (torch.tensor([one], dtype=torch.float64) for one in (middle, steepness))

    def forward(self, images):
        below = -(self.steepness * (images.flatten(1) - self.middle).square()).sum(1)
        return torch.stack([torch.zeros_like(below), below], dim=1)


def bowl(middle, steepness, pixels) -> Problem:
    """Lead images, [[value, ...], ...], away from the first class: up to the middle of the bowl."""
    model = Classifier(Bowl(middle, steepness), input_shape=(1, 1, len(middle)), num_classes=2)
    images = torch.tensor(pixels, dtype=torch.float64)[:, None, None]
    return Problem(model, images, torch.zeros(len(pixels), dtype=torch.int64))
