"""How the numbers of a network lie in memory: convolutions are faster with the channels last."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mantrap.core import Classifier, Rng

TRIED = 4
"""Images of noise on which is tried whether a model can lie channels last."""


@contextmanager
def channels_last(model: Classifier) -> Iterator[bool]:
    """The model's weights lie channels last inside, where it can work so; afterwards they lie as is usual.

    Only the order in memory changes, no value. Whether a model can is tried on copies: one that asks for a view of what
    it takes to be contiguous cannot, and stays as it is, as does one without convolutions.

    Yields:
        Whether the weights lie channels last.
    """
    able = any(isinstance(m, nn.Conv2d) for m in model.module.modules()) and _works(model)
    if able:
        lay(model.module, torch.channels_last)
    try:
        yield able
    finally:
        if able:
            lay(model.module, torch.contiguous_format)


def _works(model: Classifier) -> bool:
    """Whether a copy runs with the channels last, and gives the same logits and gradients but for rounding."""
    noise = torch.rand(TRIED, *model.input_shape, generator=Rng(0).child("layout").torch())
    images = model.normalise(noise.to(model.device))
    last, usual = torch.channels_last, torch.contiguous_format
    try:
        # While learning, dropout draws in the order of the memory: there is nothing to compare.
        _answer(model.module, images, last, learning=True)
        found = (_answer(model.module, images, layout, learning=False) for layout in (usual, last))
        pairs = list(zip(*found, strict=True))
    except (RuntimeError, ValueError):
        return False
    return all(bool((one - other).abs().max() <= 1e-3 * one.abs().max()) for one, other in pairs)


def _answer(module: nn.Module, images: Tensor, layout: torch.memory_format, *, learning: bool) -> tuple[Tensor, Tensor]:
    """What a copy says of the images, logits and the gradient of the sum of their squares."""
    copied = copy.deepcopy(module).train(learning)
    lay(copied, layout)
    pixels = images.detach().clone().requires_grad_()
    with torch.random.fork_rng(), torch.enable_grad():
        logits = copied(pixels)
        (slope,) = torch.autograd.grad(logits.square().sum(), pixels)
    return logits.detach(), slope


def lay(module: nn.Module, layout: torch.memory_format) -> None:
    """Lay the weights of convolutions in memory in this order."""
    module.to(memory_format=layout)  # type: ignore[call-overload] # torch takes it, its stubs do not know
