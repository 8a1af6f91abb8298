"""Residual networks for small images: a short one, the pre-activation ResNet-18 and the wide ResNets."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from mantrap.core import require
from mantrap.models.architectures.base import ImageNetwork, he

_LEAST_DEPTH, _MOST_DEPTH, _MOST_WIDEN = 10, 1000, 64


@dataclass(frozen=True, kw_only=True)
class ResNet8(ImageNetwork):
    """Eight layers: a convolution, three residual blocks of 16, 32 and 64 channels, and a dense layer.

    Batch normalisation after every convolution; the second and third block halve the image. For images of about 28 to
    64 pixels; any size works. Weights begin He-normal.

    Reference: He et al., "Deep Residual Learning", CVPR 2016, section 4.2, with n = 1. Deviation: where the channels
    change, the shortcut is a 1x1 convolution (their option B) and not padding with zeros (their option A).
    """

    name: ClassVar[str] = "resnet8"

    def build(self) -> nn.Module:
        """Fresh weights."""
        blocks: list[nn.Module] = [BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2)]
        stem = nn.Sequential(_conv3(self.channels, 16), nn.BatchNorm2d(16), nn.ReLU())
        return he(ResidualNetwork(stem, blocks, nn.Identity(), nn.Linear(64, self.num_classes)))


@dataclass(frozen=True, kw_only=True)
class PreActResNet18(ImageNetwork):
    """Eight pre-activation blocks in four stages of 64 to 512 channels, the network of the BackdoorBench tables.

    The variant for small images: a 3x3 convolution and no pooling at the beginning. Any size works. Weights begin
    He-normal.

    Reference: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016. Deviation: no normalisation and ReLU
    after the last block, as in the implementation that BackdoorBench uses.
    """

    name: ClassVar[str] = "preact_resnet18"

    def build(self) -> nn.Module:
        """Fresh weights."""
        blocks: list[nn.Module] = []
        before = 64
        for stage, wide in enumerate((64, 128, 256, 512)):
            blocks += [PreActBlock(before, wide, 2 if stage else 1), PreActBlock(wide, wide, 1)]
            before = wide
        return he(ResidualNetwork(_conv3(self.channels, 64), blocks, nn.Identity(), nn.Linear(512, self.num_classes)))


@dataclass(frozen=True, kw_only=True)
class WideResNet(ImageNetwork):
    """Pre-activation blocks in three stages of 16, 32 and 64 times ``widen`` channels: WRN-depth-widen.

    Any size works. Weights begin He-normal.

    Reference: Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, table 1.

    Args:
        depth: Number of layers, 6n + 4 with n blocks in each stage: 10, 16, 22, 28, 40, ...
        widen: The widening factor k of the paper.
        dropout: Share of units dropped between the two convolutions of a block, in [0, 1).
    """

    name: ClassVar[str] = "wide_resnet"

    depth: int = 16
    widen: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = _LEAST_DEPTH <= self.depth <= _MOST_DEPTH and (self.depth - _LEAST_DEPTH) % 6 == 0
        require(fits, field="depth", expected=f"6n + 4, from {_LEAST_DEPTH} to {_MOST_DEPTH}", got=self.depth)
        fits = 1 <= self.widen <= _MOST_WIDEN
        require(fits, field="widen", expected=f"from 1 to {_MOST_WIDEN}", got=self.widen)
        require(0.0 <= self.dropout < 1.0, field="dropout", expected="in [0, 1)", got=self.dropout)

    def build(self) -> nn.Module:
        """Fresh weights."""
        blocks: list[nn.Module] = []
        before = 16
        for stage, wide in enumerate((16 * self.widen, 32 * self.widen, 64 * self.widen)):
            for position in range((self.depth - 4) // 6):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(PreActBlock(before, wide, stride, self.dropout))
                before = wide
        tail = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        return he(ResidualNetwork(_conv3(self.channels, 16), blocks, tail, nn.Linear(before, self.num_classes)))


class ResidualNetwork(nn.Module):
    """A stem, residual blocks, what follows them, the mean over the image, and a dense layer."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], tail: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.tail = tail
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits of normalised images."""
        logits: Tensor = self.head(self.tail(self.blocks(self.stem(x))).mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)); He et al. 2016, figure 2."""

    def __init__(self, before: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv3(before, wide, stride), nn.BatchNorm2d(wide)
        self.conv2, self.norm2 = _conv3(wide, wide), nn.BatchNorm2d(wide)
        same = before == wide and stride == 1
        project = nn.Conv2d(before, wide, 1, stride, bias=False)
        self.shortcut = nn.Identity() if same else nn.Sequential(project, nn.BatchNorm2d(wide))

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps, halved where the stride is 2."""
        inner = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class PreActBlock(nn.Module):
    """conv(relu(norm(conv(relu(norm(x)))))) + shortcut; a shortcut with weights begins after the first ReLU."""

    def __init__(self, before: int, wide: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), _conv3(before, wide, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(wide), _conv3(wide, wide)
        self.dropout = nn.Dropout(dropout)
        same = before == wide and stride == 1
        self.shortcut = None if same else nn.Conv2d(before, wide, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps, halved where the stride is 2."""
        active = functional.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        inner = self.dropout(functional.relu(self.norm2(self.conv1(active))))
        outer: Tensor = self.conv2(inner)
        return shortcut + outer


def _conv3(before: int, wide: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, wide, 3, stride, padding=1, bias=False)
