"""Runs of ``evade`` on planted models, and defences that only look robust."""

import torch
from torch import nn

from mantrap.core import Classifier, Evasion, ImageSet
from mantrap.evade import Fgsm
from mantrap.ops.eight_bits import whole_levels
from mantrap.workflow.evading import Evading
from mantrap.workflow.plan import Source
from tests.planted import SCALE, Planted

TWO = Planted(shape=(1, 8, 8), classes=2, seed=5)
"""Of two classes the gradient of the loss leads straight to the other one, so one step is the best there is."""


def work(evasions: tuple[Evasion, ...] = (Fgsm(),), *, planted: Planted = TWO, each: int = 20, **changes) -> Evading:
    given = {
        "model": planted.model(),
        "source": Source("m.safetensors", "ab" * 32, "/m"),
        "images": planted.images(each, "evade"),
        "command": "as typed",
    }
    return Evading(evasions=evasions, **(given | changes))


def farthest(planted: Planted, images: ImageSet) -> torch.Tensor:
    """How far each picture of a planted model of two classes is from the other class, in its largest change, [n]."""
    model = planted.model()
    with model.frozen(), torch.no_grad():
        logits = model.logits(whole_levels(images.images()))
    own = logits.gather(1, images.labels[:, None])[:, 0]
    apart = (planted.templates[0] - planted.templates[1]).abs().sum() * SCALE
    return (2 * own - logits.sum(1)) / (apart / (planted.templates[0].numel() * planted.amplitude))


class Turned(torch.autograd.Function):
    """The same values, with a gradient that leads the wrong way."""

    @staticmethod
    def forward(_ctx, values):
        return values.clone()

    @staticmethod
    def backward(_ctx, slopes):
        return -slopes


class Behind(nn.Module):
    """A network behind a step that changes what its logits, or their gradients, are like."""

    def __init__(self, inner: nn.Module, change):
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, images):
        return self.change(self.inner(images))


def behind(change, planted: Planted = TWO) -> Classifier:
    """A planted model whose logits are changed."""
    model = planted.model()
    model.module = Behind(model.module, change)
    return model
