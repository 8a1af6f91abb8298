"""What every architecture has in common, and the two ways in which ours begin their weights."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import nn

from mantrap.core import require

MOST_CHANNELS, MOST_PIXELS, MOST_CLASSES, MOST_UNITS = 1024, 1024, 1_000_000, 65_536
"""Limits of sizes: a spec may come from a stranger's card, and a slip of the finger should not fill the memory."""
FEWEST_CLASSES = 2


@runtime_checkable
class Architecture(Protocol):
    """A recipe for a network: sizes in the constructor, fresh weights from the verb."""

    name: ClassVar[str]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""

    @property
    def num_classes(self) -> int:
        """Number of logits."""

    def build(self) -> nn.Module:
        """The network with fresh weights, on the CPU, in training mode.

        The weights come from torch's global stream of random numbers: seed it inside ``torch.random.fork_rng``.
        """


@dataclass(frozen=True, kw_only=True)
class ImageNetwork:
    """Sizes that every architecture of ours has, and their limits.

    Args:
        channels: Channels of an image: 1 for grey, 3 for colour.
        height: Rows of an image, in pixels.
        width: Columns of an image, in pixels.
        num_classes: Number of logits.
    """

    channels: int = 3
    height: int = 32
    width: int = 32
    num_classes: int = 10

    smallest: ClassVar[int] = 1
    """Least height and width, in pixels, that leave the last feature map at least one pixel."""
    multiple_of: ClassVar[int] = 1
    """Height and width are multiples of this many pixels."""

    def __post_init__(self) -> None:
        limits = {
            "channels": (1, MOST_CHANNELS),
            "height": (self.smallest, MOST_PIXELS),
            "width": (self.smallest, MOST_PIXELS),
            "num_classes": (FEWEST_CLASSES, MOST_CLASSES),
        }
        for field, (least, most) in limits.items():
            got = getattr(self, field)
            require(least <= got <= most, field=field, expected=f"from {least} to {most}", got=got)
        for field in ("height", "width"):
            got = getattr(self, field)
            require(got % self.multiple_of == 0, field=field, expected=f"a multiple of {self.multiple_of}", got=got)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return (self.channels, self.height, self.width)


def glorot(network: nn.Module) -> nn.Module:
    """Begin with Glorot-uniform weights and zero biases, as Keras does (Glorot & Bengio, 2010, equation 16)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            _zero_bias(layer)
    return network


def he(network: nn.Module) -> nn.Module:
    """Begin with He-normal weights and zero biases, for deep networks of ReLU units (He et al., 2015, equation 10).

    Convolutions count their outgoing connections, as in the authors' ResNet code; the last layer is Glorot-uniform.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            _zero_bias(layer)
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            _zero_bias(layer)
    return network


def _zero_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
