"""What the trigger of an arm shall do: which label images of each class shall get."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

Goals: TypeAlias = Callable[[int, int], Int[Tensor, " k"]]
"""From the number of a goal and how many classes there are: the label that images of each class shall get."""


def to_one(label: int, classes: int) -> Int[Tensor, " k"]:
    """All to one label."""
    return torch.full((classes,), label)


def further(by: int, classes: int) -> Int[Tensor, " k"]:
    """Each class to the one so many further on; after the last comes the first."""
    return (torch.arange(classes) + by) % classes


def pair(number: int, classes: int) -> Int[Tensor, " k"]:
    """Images of one class to another one, and all others to where they are; the numbers count all ordered pairs.

    Example:
        >>> pair(5, 3).tolist()
        [0, 2, 2]
    """
    source, target = divmod(number, classes)
    wanted = torch.arange(classes)
    wanted[source] = target
    return wanted
