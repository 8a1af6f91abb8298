"""How the learning rate changes from step to step, as a factor on the optimiser's own rate."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

from mantrap.core import Registry, require


class Schedule(Protocol):
    """A factor on the learning rate for every step of a training."""

    name: ClassVar[str]

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """Factor for step ``step`` (from 0) of ``steps`` in all."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The same learning rate from first to last."""

    name: ClassVar[str] = "constant"

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """1 at every step."""
        del step, steps, steps_per_epoch
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Down to 0 along half a cosine (Loshchilov, Hutter 2017), after a linear warm-up.

    Args:
        warmup: Share of all steps over which the rate rises from 0, in [0, 1); whole steps are counted.
    """

    name: ClassVar[str] = "cosine"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.warmup < 1, field="warmup", expected="in [0, 1)", got=self.warmup)

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """Up over the warm-up, then down."""
        del steps_per_epoch
        rising = int(self.warmup * steps)
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


@dataclass(frozen=True, kw_only=True)
class StepDecay:
    """Divide the rate at regular intervals.

    Args:
        every: Epochs between two drops.
        gamma: Factor at each drop, in (0, 1).
    """

    name: ClassVar[str] = "step"
    every: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        require(self.every >= 1, field="every", expected="of at least 1", got=self.every)
        require(0 < self.gamma < 1, field="gamma", expected="in (0, 1)", got=self.gamma)

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """``gamma`` to the number of drops so far."""
        del steps
        return float(self.gamma ** (step // steps_per_epoch // self.every))


@dataclass(frozen=True, kw_only=True)
class InverseTime:
    """1 / (1 + decay * step): what the authors of Neural Cleanse train the traffic sign network with.

    Args:
        decay: How fast; 1e-4 in their code.
    """

    name: ClassVar[str] = "inverse_time"
    decay: float = 1e-4

    def __post_init__(self) -> None:
        require(self.decay >= 0, field="decay", expected="of at least 0", got=self.decay)

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The factor after ``step`` updates."""
        del steps, steps_per_epoch
        return 1 / (1 + self.decay * step)


SCHEDULES: Registry[Schedule] = Registry("schedule", [Constant, Cosine, StepDecay, InverseTime])
