"""Synthetic traffic signs: photographs that nobody took, of signs that nobody owns. The set that needs no download."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mantrap.core import ImageSet, Rng, require
from mantrap.data.pixels import IN_MEMORY
from mantrap.data.signs.catalogue import CATALOGUE
from mantrap.data.signs.scene import photograph
from mantrap.data.splits import no_such_split


@dataclass(frozen=True, kw_only=True)
class Signs:
    """Traffic signs of 2 to 43 classes, drawn and then photographed by arithmetic.

    Each image has its own stream of random numbers, named by seed, split and number: image 7 is the same whether ten
    images are made or ten thousand, and in whatever order. Signs of every class are equally many, and the labels go
    round in turn. Difficulty is set so that a small CNN, trained on 4,000 images of ten classes, is right on 95 to 99 %
    of the test images.

    Args:
        classes: How many of the 43 signs, in the catalogue's order; 2 to 43.
        size: Height and width in pixels, 16 to 224.
        seed: Which world the photographs come from; 0 or more.
        train: Images in the split ``train``.
        test: Images in the split ``test``.

    Example:
        >>> Signs(classes=2, size=16).load("test").class_names
        ('stop', 'yield')
    """

    name: ClassVar[str] = "signs"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    classes: int = 10
    size: int = 32
    seed: int = 0
    train: int = 4000
    test: int = 1000

    def __post_init__(self) -> None:
        require(2 <= self.classes <= len(CATALOGUE), field="signs.classes", expected="from 2 to 43", got=self.classes)
        require(16 <= self.size <= 224, field="signs.size", expected="from 16 to 224", got=self.size)
        require(self.seed >= 0, field="signs.seed", expected="0 or more", got=self.seed)
        require(self.train > 0, field="signs.train", expected="above 0", got=self.train)
        require(self.test > 0, field="signs.test", expected="above 0", got=self.test)

    def load(self, split: str) -> ImageSet:
        """``train`` or ``test``. The photographs are made as they are read, and then kept for this process."""
        if split not in self.splits:
            raise no_such_split(split, self.splits, self.name)
        count = self.train if split == "train" else self.test
        labels = [number % self.classes for number in range(count)]
        names = [sign.name for sign in CATALOGUE[: self.classes]]
        return ImageSet(_album(self, split, count), labels, class_names=names, name=self.name)


class Album:
    """A source that makes photographs as they are read, and keeps them where all fit into 256 MiB."""

    def __init__(self, signs: Signs, split: str, count: int) -> None:
        self._signs, self._split, self._count = signs, split, count
        size = signs.size
        self._kept = torch.zeros(count, 3, size, size, dtype=torch.uint8) if 3 * count * size**2 <= IN_MEMORY else None
        self._made = np.zeros(count, bool)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (3, self._signs.size, self._signs.size)

    def __len__(self) -> int:
        return self._count

    def read(self, index: Sequence[int]) -> Tensor:
        """These photographs as uint8."""
        chosen = list(index)
        if self._kept is None:
            return (
                torch.stack([self._make(i) for i in chosen])
                if chosen
                else torch.empty(0, *self.shape, dtype=torch.uint8)
            )
        for i in chosen:
            if not self._made[i]:
                self._kept[i] = self._make(i)
                self._made[i] = True
        return self._kept[chosen]

    def _make(self, number: int) -> Tensor:
        signs = self._signs
        stream = Rng(signs.seed).child("signs", split=self._split, image=number)
        pixels = photograph(number % signs.classes, signs.size, stream.numpy())
        return torch.from_numpy(pixels).permute(2, 0, 1)


@functools.lru_cache(maxsize=4)
def _album(signs: Signs, split: str, count: int) -> Album:
    return Album(signs, split, count)
