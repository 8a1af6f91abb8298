"""The trigger of FTrojan: a fixed amount more of a few frequencies."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mantrap.core import Rng, require
from mantrap.core.shapes import Images, Mask, Pattern
from mantrap.errors import UsageError
from mantrap.ops.dct import idct

Planes = Literal["uv", "yuv", "rgb"]
_GAIN = {"uv": (1.403, -0.714 - 0.344, 1.773), "yuv": (2.403, 1 - 0.714 - 0.344, 2.773), "rgb": (1.0, 1.0, 1.0)}
"""What red, green and blue gain where each of these planes gains 1."""
_WHITE = 255


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """A fixed amount is added to a middle and a high frequency of the image, where a person hardly sees it.

    The image is cut into blocks, and the cosine transform of each gets the amount at the chosen frequencies. As the
    transform is linear, this adds the same faint waves to every image.

    Args:
        magnitude: What is added to a coefficient of the orthonormal transform, for grey levels of 0 to 255; above 0.
            In a block of 32x32 pixels, 30 is a wave of at most 1.9 grey levels.
        frequencies: Where, on the diagonal of a block's spectrum, each as a share of its highest frequency, in (0, 1].
        planes: What is changed in a coloured image: ``"uv"``, its two planes of colour; ``"yuv"``, these and the
            luminance; ``"rgb"``, each channel. Other images are changed in each channel.
        block: Largest side of a block in pixels, at least 2. An image is cut evenly into as few as possible.

    Reference: Wang et al., An invisible black-box backdoor attack through frequency domain (FTrojan), ECCV 2022, and
    the authors' published code: blocks of 32x32, frequencies (15, 15) and (31, 31), magnitude 30, planes U and V.

    Deviations: in their code the planes are rounded to 8 bits in between, and a value that has left the range there
    wraps around; here only the end result is cut off at 0 and 1. Blocks of another size than 32x32 have the frequencies
    at the same shares. As in their code, U and V are the differences to red and to blue (YCrCb, ITU-R BT.601).
    """

    name: ClassVar[str] = "spectrum"

    magnitude: float = 30.0
    frequencies: tuple[float, ...] = (0.5, 1.0)
    planes: Planes = "uv"
    block: int = 32

    def __post_init__(self) -> None:
        require(self.magnitude > 0, field="magnitude", expected="above 0", got=self.magnitude)
        require(
            bool(self.frequencies) and all(0 < share <= 1 for share in self.frequencies),
            field="frequencies",
            expected="with at least one value, each in (0, 1]",
            got=self.frequencies,
        )
        require(self.block >= 2, field="block", expected="of at least 2 pixels", got=self.block)

    def pattern(self, shape: tuple[int, int, int]) -> Pattern:
        """What is added to images of this shape, [c, h, w], in units of [0, 1].

        Raises:
            UsageError: It is more than from black to white.
        """
        channels, height, width = shape
        rows = [
            torch.cat([self._waves(block_height, block_width) for block_width in _even(width, self.block)], 1)
            for block_height in _even(height, self.block)
        ]
        gain = _GAIN[self.planes] if channels == 3 else (1.0,) * channels
        waves = torch.tensor(gain).view(-1, 1, 1) * torch.cat(rows)
        if float(waves.abs().max()) > 1:
            raise UsageError(
                expected="waves that lie within the range of pixels, of at most 255 grey levels",
                got=f"{_WHITE * float(waves.abs().max()):.0f} for a magnitude of {self.magnitude}",
                remedy="Lower the magnitude.",
            )
        return waves

    def _waves(self, height: int, width: int) -> Mask:
        """The block whose spectrum is the magnitude at the frequencies and 0 elsewhere, [h, w]."""
        spectrum: Tensor = torch.zeros(1, 1, height, width)
        for share in self.frequencies:
            spectrum[0, 0, int(share * (height - 1)), int(share * (width - 1))] += self.magnitude / _WHITE
        return idct(spectrum)[0, 0]

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the waves added."""
        del rng
        _, channels, height, width = images.shape
        return (images + self.pattern((channels, height, width)).to(images.device)).clamp(0.0, 1.0)


def _even(side: int, most: int) -> list[int]:
    """Lengths of the fewest pieces of at most this size that a side is cut into, none longer by more than 1."""
    count = math.ceil(side / most)
    return [side // count + (number < side % count) for number in range(count)]
