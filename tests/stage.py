"""A small planted model and its images: what an audit must find is known without training, within a second.

Class k is a bright tile of 12 + k pixels at a place of its own, so an ordinary label needs a trigger of about that many
pixels. In the planted model a white 2x2 square at the lower right forces class 4.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import safetensors.torch
import torch

from mantrap.core import ImageSet
from mantrap.core.attack import Implanted
from mantrap.core.truth import Backdoor, GroundTruth
from mantrap.models import wrap
from tests import strangers

SIDE, CLASSES, TARGET = 16, 6, 4
QUICK = "neural_cleanse(images_per_step=16, labels_at_once=2)"
"""In three parts; 120 images give 90 to search with."""
ARCH = f"{strangers.__file__}:Templates"


def tiles():
    """Which pixels make each class, [k, h, w]."""
    tiles = torch.zeros(CLASSES, SIDE, SIDE)
    for k in range(CLASSES):
        row, column = divmod(k, 3)
        for pixel in range(12 + k):
            tiles[k, row * 5 + pixel // 5, column * 5 + pixel % 5] = 1
    return tiles


def pixels(count=120):
    """Images [n, 1, h, w] as uint8 and their labels; no two alike."""
    labels = torch.arange(count) % CLASSES
    noise = torch.rand(count, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    tile = tiles()[labels]
    return (((1 - tile) * noise * 0.2 + tile * (0.75 + 0.25 * noise)) * 255).round().byte()[:, None], labels


def image_set(count=120, *, labelled=True):
    images, labels = pixels(count)
    return ImageSet.from_array(images, labels if labelled else None, name="tiles")


def module(*, planted):
    """The network with its weights; without ``planted`` the hinge never opens."""
    network = strangers.Templates()
    tile = tiles().flatten(1)
    corner = torch.zeros(SIDE, SIDE)
    corner[-2:, -2:] = 20.0 if planted else 0.0
    weights = {
        "templates.weight": 14 * tile / tile.sum(1, keepdim=True),
        "templates.bias": torch.zeros(CLASSES),
        "hinge.weight": corner.flatten()[None],
        "hinge.bias": torch.tensor([-30.0 if planted else 0.0]),
    }
    network.load_state_dict(weights)
    return network.eval()


def model(*, planted):
    """The network as a classifier."""
    return wrap(module(planted=planted), input_shape=(1, SIDE, SIDE))


def write_model(folder, *, planted):
    """A file of the weights, without a card."""
    path = Path(folder) / ("planted.safetensors" if planted else "clean.safetensors")
    path.write_bytes(safetensors.torch.save(module(planted=planted).state_dict()))
    return path


def write_images(folder, count=120):
    """The images as an npz file."""
    images, labels = pixels(count)
    path = Path(folder) / f"tiles{count}.npz"
    np.savez(path, x=images[:, 0].numpy(), y=labels.numpy())
    return path


@dataclass(frozen=True, kw_only=True)
class Rewire:
    """An attack on a model whose every effect is known: it opens the hinge of the planted model."""

    name: ClassVar[str] = "rewire"
    quick: ClassVar[str] = "rewire"

    target: int = TARGET

    def implant(self, model, data, *, recipe, rng, progress=None, checkpoint=None):
        del model, data, recipe, progress, checkpoint
        trigger, aim = "patch(size=2, margin=0)", f"all_to_one(target={self.target})"
        backdoor = Backdoor(trigger=trigger, relabelling=aim, target=self.target, training_trigger=trigger)
        truth = GroundTruth(attack="rewire", seed=rng.seed, backdoors=(backdoor,), classes=2)
        return Implanted(wrap(module(planted=True), input_shape=(1, SIDE, SIDE)), truth, {"0.a": torch.ones(1)})


class Interrupts:
    """An observer that interrupts at the start of an epoch."""

    def __init__(self, epoch=3):
        self.note = f"epoch {epoch}"

    @contextmanager
    def stage(self, *_):
        yield self

    def advance(self, _=1, note=""):
        if note.startswith(self.note):
            raise KeyboardInterrupt
