"""Adam for numbers that have to stay between 0 and 1, such as pixels and masks."""

from typing import Final

from torch import Tensor, zeros_like

BETAS: Final = (0.5, 0.9)
"""Those of Neural Cleanse's search: short memories, for searches of few steps."""
_EPSILON = 1e-7


class BoxedAdam:
    """Moves a tensor in place, number by number, and takes what leaves [0, 1] back to its edge.

    What is optimised side by side in one tensor is optimised as if it were alone.

    Args:
        values: Any shape, in [0, 1].
        rate: Learning rate.

    Reference: Kingma and Ba, Adam, ICLR 2015, algorithm 1; projected, and with the epsilon of the paper's search.
    """

    def __init__(self, values: Tensor, rate: float) -> None:
        self.values, self.rate, self.step = values, rate, 0
        self._first, self._second = zeros_like(values), zeros_like(values)

    def descend(self, slope: Tensor, *, share: float = 1.0) -> None:
        """One step down, or a share of one."""
        self.step += 1
        self._first.mul_(BETAS[0]).add_(slope, alpha=1 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
        first, second = self._first / (1 - BETAS[0] ** self.step), self._second / (1 - BETAS[1] ** self.step)
        self.values.sub_(share * self.rate * first / (second.sqrt() + _EPSILON)).clamp_(0, 1)
