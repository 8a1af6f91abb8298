"""Dense networks whose units learn what they compute: each is the largest of several sums."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mantrap.core import require
from mantrap.models.architectures.base import MOST_UNITS, ImageNetwork, glorot

MOST_LAYERS, MOST_PIECES = 100, 100


@dataclass(frozen=True, kw_only=True)
class Maxout(ImageNetwork):
    """Dense layers of maxout units over the flattened image.

    Each unit is the largest of several weighted sums of what comes in, so it learns a convex function of its own.
    Weights begin Glorot-uniform. Any size works.

    Reference: Goodfellow et al., Maxout Networks, ICML 2013, sections 2 and 4.1; the sizes are those of the authors'
    network for digits, which Explaining and Harnessing Adversarial Examples, ICLR 2015, starts from.

    Deviations: weights are held down by nothing but the recipe, where the authors cut the norm of every unit's weights.

    Args:
        hidden: Units of each hidden layer.
        pieces: Sums for each unit.
        dropout: Share of hidden units dropped in training, in [0, 1).
        input_dropout: Share of the image's values dropped in training, in [0, 1).
    """

    name: ClassVar[str] = "maxout"

    channels: int = 1
    height: int = 28
    width: int = 28
    hidden: tuple[int, ...] = (240, 240)
    pieces: int = 5
    dropout: float = 0.5
    input_dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = 1 <= len(self.hidden) <= MOST_LAYERS and all(1 <= units <= MOST_UNITS for units in self.hidden)
        require(fits, field="hidden", expected=f"1 to {MOST_LAYERS} layers of 1 to {MOST_UNITS} units", got=self.hidden)
        require(1 <= self.pieces <= MOST_PIECES, field="pieces", expected=f"from 1 to {MOST_PIECES}", got=self.pieces)
        for field in ("dropout", "input_dropout"):
            got = getattr(self, field)
            require(0.0 <= got < 1.0, field=field, expected="in [0, 1)", got=got)

    def build(self) -> nn.Module:
        """Fresh weights."""
        layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(self.input_dropout)]
        before = self.channels * self.height * self.width
        for units in self.hidden:
            layers += [nn.Linear(before, units * self.pieces), Largest(self.pieces), nn.Dropout(self.dropout)]
            before = units
        return glorot(nn.Sequential(*layers, nn.Linear(before, self.num_classes)))


class Largest(nn.Module):
    """The largest of every ``pieces`` values in a row."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, sums: Tensor) -> Tensor:
        """[n, units * pieces] to [n, units]."""
        units: Tensor = sums.unflatten(1, (-1, self.pieces)).amax(2)
        return units
