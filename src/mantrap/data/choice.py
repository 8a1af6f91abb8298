"""What all named sets of photographs have in common: splits, and a choice of classes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mantrap.core import ImageSet, require
from mantrap.data.splits import no_such_split
from mantrap.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class ChosenClasses(ABC):
    """A named set, or some classes of it.

    Args:
        classes: Only these classes, numbered anew from 0 in this order; all where empty.
    """

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]

    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(
            len(set(self.classes)) == len(self.classes) != 1 and min(self.classes, default=0) >= 0,
            field=f"{self.name}.classes",
            expected="with two or more different classes from 0 up, or none for all",
            got=self.classes,
        )

    def load(self, split: str) -> ImageSet:
        """One of the splits.

        Raises:
            UsageError: There is no such split or class, or the set is not on this machine.
            DataError: Its files are broken.
        """
        if split not in self.splits:
            raise no_such_split(split, self.splits, self.name)
        images = self._read(split)
        return only_classes(images, self.classes) if self.classes else images

    @abstractmethod
    def _read(self, split: str) -> ImageSet:
        """A whole split, of which it is known that there is one."""


def only_classes(images: ImageSet, classes: Sequence[int]) -> ImageSet:
    """The images of these classes, which are numbered anew from 0 in this order.

    Raises:
        DataError: The images have no labels, or none is of these classes.
        UsageError: There is no such class.

    Example:
        >>> only_classes(ImageSet.from_array(torch.zeros(4, 1, 2, 2), [0, 1, 2, 2]), [2, 0]).labels.tolist()
        [1, 0, 0]
    """
    if images.labels is None or images.num_classes is None:
        raise DataError(expected=f"labels for {images.name}", got="none", remedy="Choose no classes, or another split.")
    wrong = [c for c in classes if not 0 <= c < images.num_classes]
    if wrong:
        raise UsageError(
            expected=f"classes of {images.name}, from 0 to {images.num_classes - 1}",
            got=f"{wrong}",
            remedy="Choose classes that the set has.",
        )
    place = {c: i for i, c in enumerate(classes)}
    labels = images.labels.tolist()
    part = images.subset([i for i, label in enumerate(labels) if label in place])
    assert part.labels is not None
    names = [images.class_names[c] for c in classes] if images.class_names else ()
    return part.renamed(()).with_labels(torch.tensor([place[c] for c in part.labels.tolist()])).renamed(names)
