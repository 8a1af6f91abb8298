"""Adam for numbers that have to stay in a range, such as pixels and masks."""

import math
from typing import Final

import torch
from torch import Tensor

BETAS: Final = (0.5, 0.9)
"""Those of Neural Cleanse's search: short memories, for searches of few steps."""
_EPSILON = 1e-7


class BoxedAdam:
    """Moves a tensor in place, number by number, and takes what leaves its range back to the edge.

    What is optimised side by side in one tensor is optimised as if it were alone.

    Args:
        values: Any shape, from ``low`` to ``high``, without a gradient of its own.
        rate: Learning rate.
        low: The lower edge.
        high: The upper one.
        betas: How long the means of slopes and of their squares remember.

    Reference: Kingma and Ba, Adam, ICLR 2015, algorithm 1; projected, and with the epsilon of the paper's search.
    Written out here because ``torch.optim`` loads torch's compiler when the first optimiser is made, which takes as
    long as a whole scan.
    """

    def __init__(
        self,
        values: Tensor,
        rate: float,
        *,
        low: float = 0.0,
        high: float = 1.0,
        betas: tuple[float, float] = BETAS,
    ) -> None:
        self.values, self.rate, self.low, self.high, self.betas = values, rate, low, high, betas
        self._mean, self._square = torch.zeros_like(values), torch.zeros_like(values)
        self._steps = 0

    def only(self, rows: Tensor) -> Tensor:
        """Go on with these rows of the tensor alone, by number, in a tensor of their own; that tensor."""
        self.values, self._mean, self._square = self.values[rows], self._mean[rows], self._square[rows]
        return self.values

    def descend(self, slope: Tensor, *, share: float = 1.0) -> None:
        """One step down, or a share of one."""
        self._steps += 1
        first, second = self.betas
        self._mean.lerp_(slope, 1 - first)
        self._square.mul_(second).addcmul_(slope, slope, value=1 - second)
        rate = share * self.rate / (1 - first**self._steps)
        spread = self._square.sqrt().div_(math.sqrt(1 - second**self._steps)).add_(_EPSILON)
        self.values.addcdiv_(self._mean, spread, value=-rate).clamp_(self.low, self.high)
