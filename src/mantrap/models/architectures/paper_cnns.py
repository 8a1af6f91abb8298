"""The networks that the Neural Cleanse paper trained itself: digits, traffic signs and faces."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from mantrap.models.architectures.base import ImageNetwork, glorot


@dataclass(frozen=True, kw_only=True)
class MnistCnn(ImageNetwork):
    """Two 5x5 convolutions and one hidden layer, for digits.

    Convolutions of 16 and 32 channels without padding, each with ReLU and 2x2 max pooling; 512 hidden units.
    Weights begin Glorot-uniform, as in the reference code. Height and width: 16 at least.

    Reference: Wang et al., "Neural Cleanse", IEEE S&P 2019, appendix, table of the MNIST model.

    Example:
        >>> MnistCnn(channels=3, height=32, width=32).input_shape
        (3, 32, 32)
    """

    name: ClassVar[str] = "mnist_cnn"
    smallest: ClassVar[int] = 16

    channels: int = 1
    height: int = 28
    width: int = 28
    num_classes: int = 10

    def build(self) -> nn.Module:
        """Fresh weights."""
        height, width = (((side - 4) // 2 - 4) // 2 for side in (self.height, self.width))
        return glorot(MnistNetwork(self.channels, 32 * height * width, self.num_classes))


class MnistNetwork(nn.Module):
    """See :class:`MnistCnn`."""

    def __init__(self, channels: int, flat: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 5)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.fc1 = nn.Linear(flat, 512)
        self.fc2 = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised images."""
        x = pooled(self.conv1(x))
        x = pooled(self.conv2(x))
        logits: Tensor = self.fc2(functional.relu(self.fc1(x.flatten(1))))
        return logits


def pooled(x: Tensor) -> Tensor:
    """ReLU and 2x2 max pooling, in the order that has a quarter of the work: either order gives the same."""
    return functional.relu(functional.max_pool2d(x, 2))


@dataclass(frozen=True, kw_only=True)
class GtsrbCnn(ImageNetwork):
    """Three pairs of 3x3 convolutions and one hidden layer, for traffic signs.

    Pairs of 32, 64 and 128 channels, the first of each padded and the second not, ReLU after each, then 2x2 max pooling
    and dropout 0.2; 512 hidden units with dropout 0.5. Weights begin Glorot-uniform, as in the reference code. Height
    and width: 22 at least.

    Reference: Wang et al., "Neural Cleanse", IEEE S&P 2019, appendix, table of the GTSRB model. The paper names no
    dropout and no padding; both are as in the authors' code.

    Args:
        dropout: Whether units are dropped in training.
    """

    name: ClassVar[str] = "gtsrb_cnn"
    smallest: ClassVar[int] = 22

    channels: int = 3
    height: int = 32
    width: int = 32
    num_classes: int = 43
    dropout: bool = True

    def build(self) -> nn.Module:
        """Fresh weights."""
        layers: list[nn.Module] = []
        channels, height, width = self.input_shape
        for wide in (32, 64, 128):
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3), nn.ReLU()]
            layers += [nn.MaxPool2d(2), nn.Dropout(0.2 if self.dropout else 0.0)]
            channels, height, width = wide, (height - 2) // 2, (width - 2) // 2
        hidden = [nn.Linear(channels * height * width, 512), nn.ReLU(), nn.Dropout(0.5 if self.dropout else 0.0)]
        return glorot(FeaturesThenClassifier(layers, [*hidden, nn.Linear(512, self.num_classes)]))


class FeaturesThenClassifier(nn.Module):
    """A stack of convolutions, then a stack of dense layers."""

    def __init__(self, features: list[nn.Module], classifier: list[nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised images."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


@dataclass(frozen=True, kw_only=True)
class DeepId(ImageNetwork):
    """Four convolutions whose last two levels meet in one layer of 160 units, for faces.

    Convolutions of 20 (4x4), 40 (3x3), 60 (3x3) and 80 (2x2) channels without padding, the first three with 2x2 max
    pooling; the third and the fourth each have a dense layer of 160, and ReLU is taken of their sum. Weights begin
    Glorot-uniform. Height and width: 31 at least.

    Reference: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", CVPR 2014; sizes as in
    the YouTube Face model of Wang et al., "Neural Cleanse", IEEE S&P 2019 (1,283 people, 55x47 pixels). Deviation from
    Sun et al.: convolution weights are shared over the whole map, as in Neural Cleanse's own code.
    """

    name: ClassVar[str] = "deepid"
    smallest: ClassVar[int] = 31

    channels: int = 3
    height: int = 55
    width: int = 47
    num_classes: int = 1283

    def build(self) -> nn.Module:
        """Fresh weights."""
        height, width = (((((side - 3) // 2) - 2) // 2 - 2) // 2 for side in (self.height, self.width))
        flat = (60 * height * width, 80 * (height - 1) * (width - 1))
        return glorot(DeepIdNetwork(self.channels, flat, self.num_classes))


class DeepIdNetwork(nn.Module):
    """See :class:`DeepId`."""

    def __init__(self, channels: int, flat: tuple[int, int], num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 20, 4)
        self.conv2 = nn.Conv2d(20, 40, 3)
        self.conv3 = nn.Conv2d(40, 60, 3)
        self.conv4 = nn.Conv2d(60, 80, 2)
        self.fc1 = nn.Linear(flat[0], 160)
        self.fc2 = nn.Linear(flat[1], 160)
        self.out = nn.Linear(160, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised images."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = pooled(conv(x))
        coarse = functional.relu(self.conv4(x))
        identity = functional.relu(self.fc1(x.flatten(1)) + self.fc2(coarse.flatten(1)))
        logits: Tensor = self.out(identity)
        return logits
