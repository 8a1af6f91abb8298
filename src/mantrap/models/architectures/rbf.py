"""A network of one radial basis function for each class: sure near its centre, and of nothing far away."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mantrap.core import require
from mantrap.models.architectures.base import ImageNetwork

_NEAREST = 1e-6


@dataclass(frozen=True, kw_only=True)
class Rbf(ImageNetwork):
    """One Gaussian bump over the pixels for each class, of a centre and widths that are learned.

    The sigmoid of a logit is the bump's height, the probability that an image is of that class, ``exp(-d)`` for the
    squared distance ``d`` from the centre in learned units. Far from every centre all are near 0: an image is of no
    class. Train it with ``recipe(loss='one_against_rest')``, and a large learning rate; a softmax would not let it say
    so. Centres begin evenly drawn from [0, 1]. Any size works.

    Where pixels never vary in training, nothing teaches the units what to make of a change there: that stays as it
    began, and decides how sure the network is of images that are changed everywhere.

    Reference: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 7.

    Deviations: every pixel has a sharpness of its own, where the paper has a matrix for each class; it cannot change
    its sign. The paper says nothing of several classes, of training or of the start.

    Args:
        sharpness: What a squared distance of 1 in one pixel weighs in the beginning, above 0.
    """

    name: ClassVar[str] = "rbf"

    channels: int = 1
    height: int = 28
    width: int = 28
    sharpness: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sharpness > 0, field="sharpness", expected="above 0", got=self.sharpness)

    def build(self) -> nn.Module:
        """Fresh weights."""
        return RbfNetwork(self.channels * self.height * self.width, self.num_classes, self.sharpness)


class RbfNetwork(nn.Module):
    """See :class:`Rbf`."""

    def __init__(self, values: int, num_classes: int, sharpness: float) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.rand(num_classes, values))
        self.log_sharpness = nn.Parameter(torch.full((num_classes, values), sharpness).log())

    def forward(self, x: Tensor) -> Tensor:
        """The log odds of each class for normalised images."""
        x, sharpness = x.flatten(1), self.log_sharpness.exp()
        # sum of s (x - c)^2, multiplied out: no tensor of images times classes times values.
        cross, own = x @ (sharpness * self.centres).T, (sharpness * self.centres.square()).sum(1)
        distances = (x.square() @ sharpness.T - 2 * cross + own).clamp_min(_NEAREST)
        return -distances - (-torch.expm1(-distances)).log()
