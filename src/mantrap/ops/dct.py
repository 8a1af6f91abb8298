"""The discrete cosine transform of images, as products with a matrix."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core.shapes import Images


def dct_matrix(size: int) -> Float[Tensor, "k n"]:
    """The orthonormal DCT-II of a signal of this length: row k is the cosine of frequency k, from 0 (constant) up.

    Args:
        size: Number of samples, at least 1.

    Returns:
        ``D`` with ``D @ D.T`` the identity, [size, size], in double precision.

    Reference: Ahmed, Natarajan and Rao, Discrete cosine transform, IEEE Transactions on Computers, 1974.
    """
    steps = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi / size * steps[:, None] * (steps + 0.5))
    waves[0] /= math.sqrt(2)
    return waves * math.sqrt(2 / size)


def dct(images: Images) -> Images:
    """The spectrum of each channel: entry (u, v) belongs to frequency u down the rows and v along the columns.

    Args:
        images: [n, c, h, w].

    Returns:
        [n, c, h, w], in the type of the images; it has the same Euclidean norm.
    """
    down, along = (dct_matrix(side).to(images) for side in images.shape[2:])
    return down @ images @ along.T


def idct(spectra: Images) -> Images:
    """The images that have these spectra: the inverse of :func:`dct`."""
    down, along = (dct_matrix(side).to(spectra) for side in spectra.shape[2:])
    return down.T @ spectra @ along
