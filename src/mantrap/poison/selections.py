"""Which images of a training set an attacker poisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mantrap.core import Rng, require
from mantrap.core.shapes import Labels
from mantrap.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class RandomShare:
    """A random share of the whole set, drawn among the images whose label the attack changes.

    Args:
        rate: Poisoned images as a share of all images, in (0, 1].
    """

    name: ClassVar[str] = "random_share"

    rate: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.rate <= 1, field="rate", expected="in (0, 1]", got=self.rate)

    def choose(self, labels: Labels, *, eligible: Sequence[int], rng: Rng) -> list[int]:
        """``rate`` times the size of the set, out of ``eligible``, ascending.

        Raises:
            UsageError: That is no image at all, or more than there are.
        """
        count = round(self.rate * len(labels))
        if not 1 <= count <= len(eligible):
            raise UsageError(
                expected=f"a rate that selects 1 to {len(eligible)} of {len(labels)} images",
                got=f"{self.rate}, which selects {count}",
                remedy="Choose another rate, or more images.",
            )
        order = torch.randperm(len(eligible), generator=rng.torch())[:count].tolist()
        return sorted(eligible[i] for i in order)
