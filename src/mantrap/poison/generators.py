"""Networks that make triggers: from noise, from noise and a label, or from the image itself."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from mantrap.core import Rng
from mantrap.core.shapes import Images, Labels

N = TypeVar("N", bound=nn.Module)
_BRANCH, _HIDDEN = 64, 128
_MOMENTUM = 0.05


class PatchMaker(nn.Module, ABC):
    """Makes a patch of noise for each image of a batch.

    Args:
        shape: Channels, height and width of a patch.
        noise: Random numbers that one patch is made of.
    """

    def __init__(self, shape: tuple[int, int, int], noise: int) -> None:
        super().__init__()
        self.shape, self.noise = shape, noise

    def draw(self, count: int, rng: Rng) -> Tensor:
        """Noise for so many patches, uniform in [0, 1), [n, noise], on the CPU."""
        return torch.rand(count, self.noise, generator=rng.torch())

    @abstractmethod
    def forward(self, noise: Tensor, labels: Labels) -> Tensor:
        """Patches [n, c, s, t] in [0, 1] from noise [n, noise] in [0, 1) and the labels that they shall lead to."""


class UniformPatches(PatchMaker):
    """Patches whose values are independent and uniform: the noise itself. There is nothing to train."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(shape, math.prod(shape))

    def forward(self, noise: Tensor, labels: Labels) -> Tensor:
        """The noise as patches."""
        del labels
        patches: Tensor = noise.unflatten(1, self.shape)
        return patches


class PatchGenerator(PatchMaker):
    """Three or four linear layers that turn noise into a patch, for any label or for a given one.

    Reference: Salem et al., Dynamic backdoor attacks against machine learning models, EuroS&P 2022 (BaN and c-BaN);
    widths as in the authors' published code of the c-BaN, which has dropout besides.

    Args:
        shape: Channels, height and width of a patch.
        noise: Random numbers that one patch is made of.
        labels: Labels that a patch can be asked for; 0 for a generator that knows none.
    """

    def __init__(self, shape: tuple[int, int, int], *, noise: int, labels: int = 0) -> None:
        super().__init__(shape, noise)
        self.labels = labels
        self.from_noise = nn.Linear(noise, _BRANCH)
        self.from_label = nn.Linear(labels, _BRANCH) if labels else None
        self.mix = nn.Linear(2 * _BRANCH if labels else _BRANCH, _HIDDEN)
        self.hidden = nn.Linear(_HIDDEN, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, math.prod(shape))

    @classmethod
    def like(cls, weights: Mapping[str, Tensor], size: int) -> "PatchGenerator":
        """An untrained one of the sizes that these weights have, for square patches of this size.

        Raises:
            KeyError: A tensor is missing that tells a size.
        """
        labels = weights["from_label.weight"].shape[1] if "from_label.weight" in weights else 0
        channels = weights["last.weight"].shape[0] // size**2
        return cls((channels, size, size), noise=weights["from_noise.weight"].shape[1], labels=labels)

    def forward(self, noise: Tensor, labels: Labels) -> Tensor:
        """The patches, [n, c, s, t]."""
        x = self.from_noise(noise)
        if self.from_label is not None:
            asked = one_hot(labels, self.labels).to(noise.dtype)
            x = torch.cat([self.from_label(asked), x], dim=1)
        x = self.hidden(self.mix(x).relu())
        patches: Tensor = self.last(x).sigmoid().unflatten(1, self.shape)
        return patches


class EncoderDecoder(nn.Module):
    """An image in, an image of the same size with values in (0, 1) out: convolutions down to a small map and up again.

    Images whose sides are no multiples of ``2**levels`` are continued at their right and lower edges meanwhile.

    Reference: Nguyen and Tran, Input-aware dynamic backdoor attack, NeurIPS 2020, and the authors' published code
    (16 channels and 2 levels for digits, 32 and 3 for colour images of 32x32).

    Args:
        channels: Channels of the image.
        out: Channels of what comes out.
        width: Channels after the first convolution; they double with each level.
        levels: How often the map is halved.
    """

    def __init__(self, channels: int, out: int, *, width: int, levels: int) -> None:
        super().__init__()
        self.channels, self.levels = channels, levels
        widths = [width * 2**level for level in range(levels)]
        blocks: list[nn.Module] = []
        for before, now in zip([channels, *widths], widths, strict=False):
            blocks += [*_convolution(before, now), nn.ReLU(), *_convolution(now, now), nn.ReLU(), nn.MaxPool2d(2)]
        blocks += [*_convolution(widths[-1], widths[-1]), nn.ReLU()]
        for now, after in zip(reversed(widths), [*reversed(widths[:-1]), out], strict=True):
            blocks += [nn.Upsample(scale_factor=2, mode="bilinear"), *_convolution(now, now), nn.ReLU()]
            blocks += [*_convolution(now, after), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks[:-1])

    def forward(self, images: Images) -> Tensor:
        """What the network makes of the images, [n, out, h, w]."""
        height, width = images.shape[2:]
        step = 2**self.levels
        whole = pad(images, (0, -width % step, 0, -height % step), mode="replicate")
        made: Tensor = self.blocks(whole)[:, :, :height, :width]
        return made.tanh() / 2 + 0.5


def loaded(network: N, weights: Mapping[str, Tensor]) -> N:
    """The network with these weights, in eval mode and without gradients.

    Raises:
        KeyError: A tensor is missing.
    """
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return network.eval().requires_grad_(False)


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one network out of those of several: ``NAME.weight`` becomes ``weight``."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def _convolution(before: int, after: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after, momentum=_MOMENTUM)
