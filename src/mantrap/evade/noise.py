"""Noise of the size of a perturbation: what every evasion has to beat."""

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import AnyNorm, Rng
from mantrap.core.shapes import Images
from mantrap.ops.linear_step import in_proportion


def noisy(images: Images, size: float | Float[Tensor, " n"], norm: AnyNorm, rng: Rng) -> Images:
    """Images with noise of a size within [0, 1]: for L-infinity each value goes up or down by it, else Gaussian.

    Gaussian noise has its size after it is clipped, for most of it would be lost at black and white, and what is shown
    beside it has lost nothing.

    Args:
        images: [n, c, h, w] in [0, 1].
        size: Norm of the noise, one for all or one for each image, [n].
        norm: What it is measured by.
        rng: Source of randomness; drawn on the CPU.

    Reference: the controls of Szegedy et al., Intriguing properties of neural networks, ICLR 2014, section 4.2
    (Gaussian) and Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 6 (up or down).
    """
    drawn = torch.randn(images.shape, generator=rng.torch()).to(images.device)
    far = size.to(images.device).view(-1, 1) if isinstance(size, Tensor) else size
    if norm == "linf":
        wide = far.view(-1, 1, 1, 1) if isinstance(far, Tensor) else far
        return (images + wide * drawn.sign()).clamp(0.0, 1.0)
    room = torch.where(drawn > 0, 1 - images, images).flatten(1)
    gone = in_proportion(room, drawn.abs().flatten(1), far, 1 if norm == "l1" else 2)
    return (images + drawn.sign() * gone.view_as(images)).clamp(0.0, 1.0)
