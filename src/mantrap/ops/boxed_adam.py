"""Adam for numbers that have to stay in a range, such as pixels and masks."""

from typing import Final

from torch import Tensor, zeros_like

BETAS: Final = (0.5, 0.9)
"""Those of Neural Cleanse's search: short memories, for searches of few steps."""
_EPSILON = 1e-7


class BoxedAdam:
    """Moves a tensor in place, number by number, and takes what leaves its range back to the edge.

    What is optimised side by side in one tensor is optimised as if it were alone.

    Args:
        values: Any shape, from ``low`` to 1.
        rate: Learning rate.
        low: The lower edge.

    Reference: Kingma and Ba, Adam, ICLR 2015, algorithm 1; projected, and with the epsilon of the paper's search.
    """

    def __init__(self, values: Tensor, rate: float, *, low: float = 0.0) -> None:
        self.values, self.rate, self.low, self.step = values, rate, low, 0
        self._first, self._second = zeros_like(values), zeros_like(values)

    def descend(self, slope: Tensor, *, share: float = 1.0) -> None:
        """One step down, or a share of one."""
        self.step += 1
        self._first.mul_(BETAS[0]).add_(slope, alpha=1 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
        first, second = self._first / (1 - BETAS[0] ** self.step), self._second / (1 - BETAS[1] ** self.step)
        self.values.sub_(share * self.rate * first / (second.sqrt() + _EPSILON)).clamp_(self.low, 1)
