"""A planted model like the stage's that ends in a linear layer, of which an audit can retrain a copy.

The seventh hidden unit opens for a white 2x2 square at the lower right, and the last layer sends it to class 4. Clean
images hardly move it, so whoever learns the last layer anew on these has no reason to send it there again.
"""

from pathlib import Path

import safetensors.torch
import torch

from mantrap.models import wrap
from tests import stage, strangers

ARCH = f"{strangers.__file__}:Headed"
MARGINS = "mm_bd(starts=2, steps=4)"
"""Six margins in no time, and no triggers."""
_MATCH, _HEAD = 28.0, 0.5


def module(*, planted):
    """The network with its weights; without ``planted`` its seventh unit never opens."""
    network = strangers.Headed()
    tile = stage.tiles().flatten(1)
    corner = torch.zeros(stage.SIDE, stage.SIDE)
    corner[-2:, -2:] = 20.0 if planted else 0.0
    head = torch.cat([torch.eye(stage.CLASSES), torch.zeros(stage.CLASSES, 1)], 1)
    head[stage.TARGET, -1] = 1.0
    weights = {
        "hidden.weight": torch.cat([_MATCH * tile / tile.sum(1, keepdim=True), corner.flatten()[None]]),
        "hidden.bias": torch.tensor([0.0] * stage.CLASSES + [-30.0 if planted else 0.0]),
        "head.weight": _HEAD * head,
        "head.bias": torch.zeros(stage.CLASSES),
    }
    network.load_state_dict(weights)
    return network.eval()


def model(*, planted=True):
    """The network as a classifier."""
    return wrap(module(planted=planted), input_shape=(1, stage.SIDE, stage.SIDE))


def write_model(folder, *, planted=True):
    """A file of the weights, without a card."""
    path = Path(folder) / ("headed.safetensors" if planted else "headless.safetensors")
    path.write_bytes(safetensors.torch.save(module(planted=planted).state_dict()))
    return path
