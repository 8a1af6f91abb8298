"""Adam for numbers that have to stay in a range, such as pixels and masks."""

from typing import Final

from torch import Tensor
from torch.optim import Adam

BETAS: Final = (0.5, 0.9)
"""Those of Neural Cleanse's search: short memories, for searches of few steps."""
_EPSILON = 1e-7


class BoxedAdam:
    """Moves a tensor in place, number by number, and takes what leaves its range back to the edge.

    What is optimised side by side in one tensor is optimised as if it were alone.

    Args:
        values: Any shape, from ``low`` to 1, without a gradient of its own.
        rate: Learning rate.
        low: The lower edge.

    Reference: Kingma and Ba, Adam, ICLR 2015, algorithm 1; projected, and with the epsilon of the paper's search.
    """

    def __init__(self, values: Tensor, rate: float, *, low: float = 0.0) -> None:
        self.values, self.rate, self.low = values, rate, low
        self._adam = Adam([values], lr=rate, betas=BETAS, eps=_EPSILON)

    def descend(self, slope: Tensor, *, share: float = 1.0) -> None:
        """One step down, or a share of one."""
        self.values.grad = slope
        self._adam.param_groups[0]["lr"] = share * self.rate
        self._adam.step()
        self.values.grad = None
        self.values.clamp_(self.low, 1)
