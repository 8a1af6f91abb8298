"""Plant a backdoor in a training set: a trigger, a choice of images, and the label they get."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mantrap.core import ImageSet, PixelSource, Rng, Trigger, spec_of
from mantrap.core.attack import NamedTrigger, Poisoned, Relabelling, Selection
from mantrap.core.truth import GroundTruth
from mantrap.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Poison:
    """Trigger x selection x relabelling: what BadNets and its kin are made of.

    Args:
        trigger: What is put on the chosen images.
        selection: Which images are chosen.
        relabelling: Which label they get, and which images have one that changes.
    """

    trigger: NamedTrigger
    selection: Selection
    relabelling: Relabelling

    def apply(self, data: ImageSet, *, rng: Rng) -> Poisoned:
        """The poisoned set, and the truth about it.

        The set that comes in is unchanged; images are stamped as they are read.

        Raises:
            DataError: The images have no labels.
            UsageError: The selection or the relabelling does not fit the set.
        """
        if data.labels is None or data.num_classes is None:
            raise DataError(expected=f"labels for {data.name}", got="none", remedy="Poison a labelled set.")
        chosen = self.selection.choose(
            data.labels, eligible=self.relabelling.eligible(data.labels), rng=rng.child("selection")
        )
        labels = data.labels.clone()
        labels[chosen] = self.relabelling.relabel(data.labels[chosen], num_classes=data.num_classes)
        source = _Stamped(data.source, frozenset(chosen), self.trigger, rng.child("trigger"))
        source.read(chosen[:1])  # a trigger that does not fit the images is refused now, not at the first epoch
        poisoned = data.over(source).with_labels(labels)
        truth = GroundTruth(
            trigger=str(spec_of(self.trigger)),
            selection=str(spec_of(self.selection)),
            relabelling=str(spec_of(self.relabelling)),
            target=self.relabelling.target,
            seed=rng.seed,
            poisoned=tuple(chosen),
            clean_digest=data.digest(),
            poisoned_digest=poisoned.digest(),
        )
        return Poisoned(poisoned, truth)


@dataclass(frozen=True, eq=False)
class _Stamped:
    """Pixels of another source, with the trigger on some of them."""

    source: PixelSource
    chosen: frozenset[int]
    trigger: Trigger
    rng: Rng

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: Sequence[int]) -> Tensor:
        pixels = self.source.read(index)
        places = [place for place, i in enumerate(index) if i in self.chosen]
        if not places:
            return pixels
        pixels = pixels.clone()
        for place in places:
            pixels[place] = self._stamp(pixels[place : place + 1], self.rng.child("image", index=index[place]))[0]
        return pixels

    def _stamp(self, pixels: Tensor, rng: Rng) -> Tensor:
        if pixels.dtype != torch.uint8:
            return self.trigger(pixels, rng=rng)
        return (self.trigger(pixels.float() / 255, rng=rng) * 255).round().to(torch.uint8)
