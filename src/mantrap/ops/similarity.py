"""How much of a change a person could see: structural similarity, signal to noise, the largest change of a pixel."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from mantrap.core.shapes import Images

_SIDE, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03


def ssim(first: Images, second: Images) -> Float[Tensor, " n"]:
    """Mean structural similarity of each pair of images, 1 where they are equal.

    Luminance, contrast and structure in Gaussian windows of 11x11 pixels (deviation 1.5) that lie within the image,
    averaged over windows and channels. Images with a side below 11 get the largest odd window that fits.

    Args:
        first: [n, c, h, w] in [0, 1].
        second: The other images, of the same shape.

    Returns:
        A value of at most 1 for each pair, [n].

    Reference: Wang, Bovik, Sheikh and Simoncelli, Image quality assessment, IEEE TIP 2004, equation 13.
    """
    side = min(_SIDE, *(s - (s + 1) % 2 for s in first.shape[2:]))
    steps = torch.arange(side, dtype=torch.float64) - side // 2
    line = torch.exp(-(steps**2) / (2 * _SIGMA**2))
    line = (line / line.sum()).to(first.device)

    def blur(values: Tensor) -> Tensor:
        flat = values.flatten(0, 1)[:, None]
        return conv2d(conv2d(flat, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))

    x, y = first.double(), second.double()
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = _K1**2, _K2**2
    values = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    values = values / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    n, channels = first.shape[:2]
    return values.view(n, channels, -1).mean((1, 2)).to(first.dtype)


def psnr(first: Images, second: Images) -> Float[Tensor, " n"]:
    """Peak signal to noise ratio of each pair in dB, infinite where they are equal.

    Args:
        first: [n, c, h, w] in [0, 1].
        second: The other images, of the same shape.

    Returns:
        ``-10 log10`` of the mean squared change, [n].

    Example:
        >>> import torch
        >>> round(float(psnr(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 0.1))), 4)
        20.0
    """
    error = (first.double() - second.double()).square().flatten(1).mean(1)
    return (-10 / math.log(10) * error.log()).to(first.dtype)


def largest_change(first: Images, second: Images) -> Float[Tensor, " n"]:
    """The largest change of any pixel of each pair (the L-infinity norm of the difference), in [0, 1], [n]."""
    return (first - second).abs().flatten(1).amax(1)
