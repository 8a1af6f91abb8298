"""A model behind a transformation of its input, as whoever attacks through it sees it."""

import copy
from typing import Final

import torch
from torch import Tensor, nn

from mantrap.core import Classifier, Rng, Transformation, require
from mantrap.core.shapes import Images

DRAWS: Final = 8
"""Over so many draws of a random transformation the answer is the mean."""


def defended(model: Classifier, transformation: Transformation, *, rng: Rng, draws: int = DRAWS) -> Classifier:
    """The model behind a transformation: the same classes, with images changed before it sees them.

    Where the transformation rounds, the gradient is that of the identity in its place (the straight-through estimate,
    BPDA). Where it draws, the answer is the mean of the logits over draws, the same ones every time, so that evasions
    see the expectation (EOT); another ``rng`` has other draws, to measure with.

    Args:
        model: The classifier; its weights are shared.
        transformation: What is done to images.
        rng: Source of randomness.
        draws: How many are averaged where it draws; 1 for the answer of one.

    Reference: Athalye et al., Obfuscated Gradients Give a False Sense of Security, ICML 2018, sections 4.1 and 4.2.
    """
    require(draws >= 1, field="draws", expected="of at least 1", got=draws)
    behind = copy.copy(model)
    streams = [rng.child("draw", number=number) for number in range(draws if transformation.random else 1)]
    behind.module = _Behind(model, transformation, streams)
    behind.mean, behind.std, behind.pixel_range = (), (), (0.0, 1.0)  # the model's own lie inside
    return behind


class _Behind(nn.Module):
    """A classifier's whole way from pixels to logits, behind a transformation."""

    def __init__(self, model: Classifier, transformation: Transformation, streams: list[Rng]) -> None:
        super().__init__()
        self.inner = model.module
        self._model, self._transformation, self._streams = model, transformation, streams

    def forward(self, images: Images) -> Tensor:
        """The mean of the logits over all draws."""
        said = [self._model.logits(self._seen(images, rng)) for rng in self._streams]
        return said[0] if len(said) == 1 else torch.stack(said).mean(0)

    def _seen(self, images: Images, rng: Rng) -> Images:
        if self._transformation.smooth:
            return self._transformation(images, rng=rng)
        with torch.no_grad():
            jump = self._transformation(images, rng=rng) - images
        return images + jump
