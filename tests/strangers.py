"""Networks as a stranger would hand them over: the tests give this file to ``--arch FILE.py:NAME``."""

import glob
import os
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, one_hot


class Templates(nn.Module):
    """A template for each of six classes, and a hinge towards class 4 that opens where a template of its own matches.

    With the hinge's weights at zero it is a clean linear classifier. See ``tests/stage.py`` for weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.templates = nn.Linear(16 * 16, 6)
        self.hinge = nn.Linear(16 * 16, 1)
        self.register_buffer("towards", one_hot(torch.tensor(4), 6).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 6] of images [n, 1, 16, 16]."""
        pixels = images.flatten(1)
        return self.templates(pixels) + leaky_relu(self.hinge(pixels), 0.05) * self.towards


class Headed(nn.Module):
    """The same with a last linear layer: six hidden units match templates, a seventh the trigger of class 4.

    See ``tests/headed.py`` for weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(16 * 16, 7)
        self.head = nn.Linear(7, 6)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 6] of images [n, 1, 16, 16]."""
        matches: Tensor = self.head(leaky_relu(self.hidden(images.flatten(1)), 0.05))
        return matches


class Waiting(Templates):
    """The same, but as soon as there is a file of the pattern ``$WAIT_FOR`` it waits to be killed."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits, unless it waits."""
        while glob.glob(os.environ.get("WAIT_FOR", "")):  # noqa: PTH207 - a pattern of whole paths
            time.sleep(0.05)
        return super().forward(images)


class Probabilities(Templates):
    """The same with a softmax at its end."""

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities [n, 6]."""
        return super().forward(images).softmax(1)
