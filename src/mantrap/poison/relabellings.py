"""What label the attacker wants triggered images to get."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from mantrap.core import require
from mantrap.core.shapes import Labels
from mantrap.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class AllToOne:
    """Every triggered image gets the same label; images that have it already are not touched.

    Args:
        target: The label.
    """

    name: ClassVar[str] = "all_to_one"

    target: int = 0

    def __post_init__(self) -> None:
        require(self.target >= 0, field="target", expected="of at least 0", got=self.target)

    def eligible(self, labels: Labels) -> list[int]:
        """Indices of the images of all other classes."""
        return torch.nonzero(labels != self.target).flatten().tolist()

    def relabel(self, labels: Labels, *, num_classes: int) -> Labels:
        """The target, for each of them.

        Raises:
            UsageError: The target is no class of the set.
        """
        if self.target >= num_classes:
            raise UsageError(
                expected=f"a target from 0 to {num_classes - 1}",
                got=f"{self.target}",
                remedy="Choose a class of the set.",
            )
        return torch.full_like(labels, self.target)
