"""Networks as a stranger would hand them over: what ``--arch FILE.py:NAME`` names in the tests."""

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, one_hot


class Templates(nn.Module):
    """One template a class, and a hinge that opens towards one class where its own template matches.

    With the hinge's weights at zero it is a clean linear classifier.
    """

    def __init__(self, classes: int = 6, side: int = 16, target: int = 4) -> None:
        super().__init__()
        self.templates = nn.Linear(side * side, classes)
        self.hinge = nn.Linear(side * side, 1)
        self.register_buffer("towards", one_hot(torch.tensor(target), classes).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return self.templates(flat) + leaky_relu(self.hinge(flat), 0.05) * self.towards
