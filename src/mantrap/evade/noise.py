"""Noise of the size of a perturbation: what every evasion has to beat."""

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import AnyNorm, Rng
from mantrap.core.shapes import Images
from mantrap.ops.projections import norms


def noisy(images: Images, size: float | Float[Tensor, " n"], norm: AnyNorm, rng: Rng) -> Images:
    """Images with noise of a size, clipped to [0, 1]: for L-infinity each value goes up or down by it, else Gaussian.

    Args:
        images: [n, c, h, w] in [0, 1].
        size: Norm of the noise, one for all or one for each image, [n].
        norm: What it is measured by.
        rng: Source of randomness; drawn on the CPU.

    Reference: the controls of Szegedy et al., Intriguing properties of neural networks, ICLR 2014, section 4.2
    (Gaussian) and Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 6 (up or down).
    """
    drawn = torch.randn(images.shape, generator=rng.torch()).to(images.device)
    unit = drawn.sign() if norm == "linf" else drawn / norms(drawn, norm).view(-1, 1, 1, 1)
    far = size.to(images.device).view(-1, 1, 1, 1) if isinstance(size, Tensor) else size
    return (images + far * unit).clamp(0.0, 1.0)
