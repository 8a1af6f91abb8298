"""Dense networks with sigmoid, tanh or ReLU units."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from mantrap.core import require
from mantrap.models.architectures.base import MOST_UNITS, ImageNetwork, glorot

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
_MOST_LAYERS = 100


@dataclass(frozen=True, kw_only=True)
class Mlp(ImageNetwork):
    """Dense layers over the flattened image; with ``hidden=()`` a linear classifier.

    Weights begin Glorot-uniform. Any size works.

    Reference: Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", Nature 1986; the
    networks FC100-100-10 and FC200-200-10 of Szegedy et al., ICLR 2014, are ``mlp(hidden=(100, 100))`` and
    ``mlp(hidden=(200, 200))`` with sigmoid units, FC10 is ``mlp(hidden=())``, and AE400-10 is ``mlp(hidden=(400,))``
    with sigmoid units, trained with ``recipe(loss='sparse_autoencoder')``. Their weight decay of lambda is added to the
    loss as lambda times the sum of squares over the k units of a layer, so it is ``weight_decay`` of 2 lambda / k here:
    2e-5, 2e-3 and 0.2 for the three FC10.

    Args:
        hidden: Units of each hidden layer.
        activation: What follows each hidden layer.
        dropout: Share of hidden units dropped in training, in [0, 1).
    """

    name: ClassVar[str] = "mlp"

    channels: int = 1
    height: int = 28
    width: int = 28
    hidden: tuple[int, ...] = (512,)
    activation: Literal["relu", "sigmoid", "tanh"] = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = len(self.hidden) <= _MOST_LAYERS and all(1 <= units <= MOST_UNITS for units in self.hidden)
        expected = f"at most {_MOST_LAYERS} layers of 1 to {MOST_UNITS} units"
        require(fits, field="hidden", expected=expected, got=self.hidden)
        known = self.activation in _ACTIVATIONS
        require(known, field="activation", expected=f"out of {', '.join(_ACTIVATIONS)}", got=self.activation)
        require(0.0 <= self.dropout < 1.0, field="dropout", expected="in [0, 1)", got=self.dropout)

    def build(self) -> nn.Module:
        """Fresh weights."""
        layers: list[nn.Module] = [nn.Flatten()]
        before = self.channels * self.height * self.width
        for units in self.hidden:
            layers += [nn.Linear(before, units), _ACTIVATIONS[self.activation](), nn.Dropout(self.dropout)]
            before = units
        return glorot(nn.Sequential(*layers, nn.Linear(before, self.num_classes)))
