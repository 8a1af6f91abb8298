"""VGG-16, the network of the PubFig and the Trojan-attack models in the Neural Cleanse paper."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mantrap.core import require
from mantrap.models.architectures.base import MOST_UNITS, ImageNetwork, he
from mantrap.models.architectures.paper_cnns import FeaturesThenClassifier

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


@dataclass(frozen=True, kw_only=True)
class Vgg16(ImageNetwork):
    """Thirteen 3x3 convolutions in five stages and two hidden layers, for large images.

    Every stage ends in 2x2 max pooling; the hidden layers have dropout 0.5. Height and width: any multiple of 32; with
    small images choose a small ``hidden``. The names of the weights are those of torchvision's ``vgg16``. Weights begin
    He-normal (the paper began from a shallower trained network).

    Reference: Simonyan & Zisserman, "Very Deep Convolutional Networks", ICLR 2015, configuration D; used for PubFig and
    the Trojan models by Wang et al., "Neural Cleanse", IEEE S&P 2019.

    Args:
        hidden: Units of each of the two hidden layers.
    """

    name: ClassVar[str] = "vgg16"
    smallest: ClassVar[int] = 32
    multiple_of: ClassVar[int] = 32

    channels: int = 3
    height: int = 224
    width: int = 224
    num_classes: int = 65
    hidden: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = 1 <= self.hidden <= MOST_UNITS
        require(fits, field="hidden", expected=f"from 1 to {MOST_UNITS}", got=self.hidden)

    def build(self) -> nn.Module:
        """Fresh weights."""
        layers: list[nn.Module] = []
        channels = self.channels
        for wide, convolutions in _STAGES:
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
                channels = wide
            layers.append(nn.MaxPool2d(2))
        classifier: list[nn.Module] = []
        units = channels * (self.height // 32) * (self.width // 32)
        for _ in range(2):
            classifier += [nn.Linear(units, self.hidden), nn.ReLU(), nn.Dropout(0.5)]
            units = self.hidden
        return he(FeaturesThenClassifier(layers, [*classifier, nn.Linear(units, self.num_classes)]))
