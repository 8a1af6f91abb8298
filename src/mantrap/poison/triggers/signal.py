"""The trigger of SIG: a weak periodic or rising signal over the whole image."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import Rng, require
from mantrap.core.shapes import Images

Kind = Literal["ramp", "sinusoid"]
_WHITE = 255


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A ramp or a sinusoid from left to right that is added to every row and channel.

    The signal is added, not blended: the image keeps its contrast. What leaves the range of pixels is cut off, so that
    on black a sinusoid loses its negative half.

    Args:
        kind: ``"sinusoid"`` or ``"ramp"``.
        delta: Its strength in grey levels of 0 to 255, in (0, 255]: the amplitude of a sinusoid, what a ramp reaches
            at the right edge.
        frequency: Periods of a sinusoid across the image, above 0; a ramp has none.

    Reference: Barni, Kallas and Tondi, A new backdoor attack in CNNs by training set corruption without label
    poisoning, ICIP 2019: columns count from 1 to m, v(i, j) = j * delta / m for the ramp and
    v(i, j) = delta * sin(2 * pi * j * f / m) with f = 6 for the sinusoid.

    Deviations: none. Public ports count the columns from 0, which shifts the signal by one pixel, and some blend a
    fifth of the image with four fifths of the signal.
    """

    name: ClassVar[str] = "signal"

    kind: Kind = "sinusoid"
    delta: float = 20.0
    frequency: float = 6.0

    def __post_init__(self) -> None:
        require(0 < self.delta <= _WHITE, field="delta", expected=f"in (0, {_WHITE}]", got=self.delta)
        require(self.frequency > 0, field="frequency", expected="above 0", got=self.frequency)

    def row(self, width: int) -> Float[Tensor, " w"]:
        """The signal along a row, in units of [0, 1]."""
        place = torch.arange(1, width + 1, dtype=torch.float64) / width
        wave = place if self.kind == "ramp" else torch.sin(2 * math.pi * self.frequency * place)
        return (self.delta / _WHITE * wave).float()

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images plus the signal."""
        del rng
        return (images + self.row(images.shape[3]).to(images.device)).clamp(0.0, 1.0)
