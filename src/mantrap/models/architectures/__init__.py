"""The networks of the papers, each a recipe with sizes to choose."""

from mantrap.core import Registry
from mantrap.models.architectures.base import Architecture
from mantrap.models.architectures.maxout import Maxout
from mantrap.models.architectures.mlp import Mlp
from mantrap.models.architectures.paper_cnns import DeepId, GtsrbCnn, MnistCnn
from mantrap.models.architectures.rbf import Rbf
from mantrap.models.architectures.resnets import PreActResNet18, ResNet8, WideResNet
from mantrap.models.architectures.vgg import Vgg16

ARCHITECTURES: Registry[Architecture] = Registry(
    "architecture", [MnistCnn, GtsrbCnn, DeepId, Vgg16, ResNet8, PreActResNet18, WideResNet, Mlp, Maxout, Rbf]
)
"""Every architecture that ``--arch`` and ``mantrap train`` know by name."""

__all__ = ["ARCHITECTURES", "Architecture"]
