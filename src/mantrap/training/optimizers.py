"""The optimisers of torch, as specs: ``sgd(lr=0.1, momentum=0.9)``."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from mantrap.core import Registry, require


class OptimizerSpec(Protocol):
    """Settings that make a torch optimiser."""

    name: ClassVar[str]

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimiser over these weights."""


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent, plain or with (Nesterov) momentum.

    Args:
        lr: Learning rate.
        momentum: Share of the last update that is added to the next one, 0 to below 1.
        nesterov: Look ahead along the momentum first.
        weight_decay: L2 penalty.
    """

    name: ClassVar[str] = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _require_rates(self.lr, self.weight_decay)
        require(0 <= self.momentum < 1, field="momentum", expected="in [0, 1)", got=self.momentum)
        require(
            not self.nesterov or self.momentum > 0, field="momentum", expected="above 0 for nesterov", got=self.momentum
        )

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimiser over these weights."""
        return torch.optim.SGD(
            parameters, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
        )


@dataclass(frozen=True, kw_only=True)
class Adagrad:
    """Learning rates by weight, divided by the root of all squared gradients so far (Duchi et al. 2011).

    Args:
        lr: Learning rate.
        weight_decay: L2 penalty.
    """

    name: ClassVar[str] = "adagrad"
    lr: float = 0.01
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _require_rates(self.lr, self.weight_decay)

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimiser over these weights."""
        return torch.optim.Adagrad(parameters, lr=self.lr, weight_decay=self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class RmsProp:
    """Learning rates by weight, divided by the root of a moving average of squared gradients (Tieleman, Hinton 2012).

    Args:
        lr: Learning rate.
        alpha: How much of the average is kept at each step, in (0, 1).
        momentum: Share of the last update that is added to the next one, 0 to below 1.
        weight_decay: L2 penalty.
    """

    name: ClassVar[str] = "rmsprop"
    lr: float = 1e-3
    alpha: float = 0.99
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _require_rates(self.lr, self.weight_decay)
        require(0 < self.alpha < 1, field="alpha", expected="in (0, 1)", got=self.alpha)
        require(0 <= self.momentum < 1, field="momentum", expected="in [0, 1)", got=self.momentum)

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimiser over these weights."""
        return torch.optim.RMSprop(
            parameters, lr=self.lr, alpha=self.alpha, momentum=self.momentum, weight_decay=self.weight_decay
        )


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Momentum and learning rates by weight, both corrected for their start at zero (Kingma, Ba 2015).

    Args:
        lr: Learning rate.
        betas: Shares of the averages of gradient and squared gradient that are kept at each step.
        weight_decay: L2 penalty, added to the gradient.
    """

    name: ClassVar[str] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _require_rates(self.lr, self.weight_decay)
        _require_betas(self.betas)

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimiser over these weights."""
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with the weight decay apart from the gradient (Loshchilov, Hutter 2019).

    Args:
        lr: Learning rate.
        betas: Shares of the averages of gradient and squared gradient that are kept at each step.
        weight_decay: Share of each weight that is taken away at each step, times the learning rate.
    """

    name: ClassVar[str] = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _require_rates(self.lr, self.weight_decay)
        _require_betas(self.betas)

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimiser over these weights."""
        return torch.optim.AdamW(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)


OPTIMIZERS: Registry[OptimizerSpec] = Registry("optimiser", [Sgd, Adagrad, RmsProp, Adam, AdamW])


def _require_rates(lr: float, weight_decay: float) -> None:
    require(lr > 0, field="lr", expected="above 0", got=lr)
    require(weight_decay >= 0, field="weight_decay", expected="of at least 0", got=weight_decay)


def _require_betas(betas: tuple[float, float]) -> None:
    require(all(0 <= b < 1 for b in betas), field="betas", expected="in [0, 1)", got=betas)
