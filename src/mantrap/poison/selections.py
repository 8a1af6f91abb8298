"""Which images of a training set an attacker poisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mantrap.core import Rng, require
from mantrap.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class RandomShare:
    """A random share, drawn among the images that the attack may poison.

    Args:
        rate: Poisoned images as a share, in (0, 1]: of all images, or of the target class for a clean-label attack.
    """

    name: ClassVar[str] = "random_share"

    rate: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.rate <= 1, field="rate", expected="in (0, 1]", got=self.rate)

    def choose(self, eligible: Sequence[int], *, total: int, rng: Rng) -> list[int]:
        """``rate`` times ``total``, out of ``eligible``, ascending.

        Raises:
            UsageError: That is no image at all, or more than there are.
        """
        count = round(self.rate * total)
        if not 1 <= count <= len(eligible):
            raise UsageError(
                expected=f"a rate that selects 1 to {len(eligible)} of {total} images",
                got=f"{self.rate}, which selects {count}",
                remedy="Choose another rate, or more images.",
            )
        return _draw(eligible, count, rng)


@dataclass(frozen=True, kw_only=True)
class Exactly:
    """A fixed number of images, drawn among those that the attack may poison.

    Args:
        count: How many, at least 1.
    """

    name: ClassVar[str] = "exactly"

    count: int = 10

    def __post_init__(self) -> None:
        require(self.count >= 1, field="count", expected="of at least 1", got=self.count)

    def choose(self, eligible: Sequence[int], *, total: int, rng: Rng) -> list[int]:
        """``count`` out of ``eligible``, ascending.

        Raises:
            UsageError: There are not so many.
        """
        if self.count > len(eligible):
            raise UsageError(
                expected=f"a count of at most {len(eligible)}, for so many of {total} images may be poisoned",
                got=f"{self.count}",
                remedy="Choose a smaller count, or more images.",
            )
        return _draw(eligible, self.count, rng)


def _draw(eligible: Sequence[int], count: int, rng: Rng) -> list[int]:
    order = torch.randperm(len(eligible), generator=rng.torch())[:count].tolist()
    return sorted(eligible[i] for i in order)
