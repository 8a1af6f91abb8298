"""Noise that has something in common with photographs."""

import torch
from torch import Tensor

from mantrap.core.shapes import Pattern


def natural_noise(shape: tuple[int, int, int], generator: torch.Generator) -> Pattern:
    """An image of noise whose amplitudes fall with the frequency as those of natural images do.

    So it has blobs and edges of every size. How bright it is and how strong its contrast are drawn as well.

    Args:
        shape: Channels, height and width; each channel has noise of its own.
        generator: Source of randomness, on the CPU.

    Returns:
        [c, h, w] in [0, 1].

    Reference: Field, Relations between the statistics of natural images and the response properties of cortical cells,
    JOSA A 1987 (amplitude proportional to 1 / frequency).
    """
    _, height, width = shape
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (rows.square() + columns.square()).sqrt()
    frequency[0, 0] = torch.inf  # the mean is drawn apart
    white: Tensor = torch.randn(shape, generator=generator)
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) / frequency, s=(height, width))
    level, contrast = torch.rand(2, generator=generator)
    spread = noise.std(correction=0).clamp_min(torch.finfo(noise.dtype).tiny)
    image: Tensor = (level + contrast * noise / spread).clamp(0, 1)
    return image
