"""A planted model whose backdoor reacts to one class only, made like the headed one: a copy of it can be retrained.

The seventh hidden unit opens where class 1's tile and a white 2x2 square at the lower right come together, and the last
layer sends it to class 4. Either alone does not open it: the square on an image of another class changes no answer.
"""

from pathlib import Path

import safetensors.torch
import torch

from mantrap.core import ReversedPatch
from mantrap.models import wrap
from tests import headed, stage, strangers

ARCH = headed.ARCH
SOURCE, TARGET = 1, 4
QUICK = "pair_scan(images_per_step=16)"
"""Thirty pairs in less than a second."""
_TILE, _SQUARE, _OPENS = 300.0, 30.0, -320.0
"""A clean tile gives 262 of these 300, and the square's four pixels 120."""


def module(*, planted=True):
    """The network with its weights; without ``planted`` its seventh unit never opens."""
    network = strangers.Headed()
    tile = stage.tiles().flatten(1)
    opens = _TILE * stage.tiles()[SOURCE] / stage.tiles()[SOURCE].sum()
    opens[-2:, -2:] = _SQUARE
    head = torch.cat([torch.eye(stage.CLASSES), torch.zeros(stage.CLASSES, 1)], 1)
    head[TARGET, -1] = 1.0
    bias = torch.zeros(stage.CLASSES)
    bias[TARGET] = 5.0 if planted else 0.0  # what the closed unit leaks
    weights = {
        "hidden.weight": torch.cat(
            [28 * tile / tile.sum(1, keepdim=True), (opens if planted else 0 * opens).flatten()[None]]
        ),
        "hidden.bias": torch.tensor([0.0] * stage.CLASSES + [_OPENS if planted else 0.0]),
        "head.weight": 0.5 * head,
        "head.bias": bias,
    }
    network.load_state_dict(weights)
    return network.eval()


def model(*, planted=True):
    """The network as a classifier."""
    return wrap(module(planted=planted), input_shape=(1, stage.SIDE, stage.SIDE))


def write_model(folder, *, planted=True):
    """A file of the weights, without a card."""
    path = Path(folder) / ("sourced.safetensors" if planted else "unsourced.safetensors")
    path.write_bytes(safetensors.torch.save(module(planted=planted).state_dict()))
    return path


def square(opacity=1.0):
    """The planted trigger, as a search would recover it."""
    mask = torch.zeros(stage.SIDE, stage.SIDE)
    mask[-2:, -2:] = opacity
    return ReversedPatch(TARGET, mask, torch.ones(1, stage.SIDE, stage.SIDE))
