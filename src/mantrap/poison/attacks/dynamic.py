"""Dynamic backdoors: patches that differ from image to image, in value and in place."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from mantrap.core import Classifier, ImageSet, Progress, Rng, require, spec_of
from mantrap.poison.attacks.joint import Joint, JointTraining
from mantrap.poison.attacks.patched_batches import PatchedBatches
from mantrap.poison.generators import PatchGenerator, PatchMaker, UniformPatches
from mantrap.poison.triggers.dynamic import (
    BanTrigger,
    ConditionalBanTrigger,
    RandomTrigger,
    share_out,
)
from mantrap.training import Recipe

AnyTrigger = RandomTrigger | BanTrigger | ConditionalBanTrigger


@dataclass(frozen=True, kw_only=True)
class DynamicBackdoor(JointTraining):
    """What the three of them have in common.

    Args:
        size: Side of a patch in pixels.
        places: How many places each label has.
    """

    size: int = 5
    places: int = 2

    def __post_init__(self) -> None:
        require(self.size >= 1, field="size", expected="of at least 1 pixel", got=self.size)
        require(self.places >= 1, field="places", expected="of at least 1", got=self.places)

    @abstractmethod
    def triggers(self, labels: int, height: int, width: int) -> dict[int, AnyTrigger]:
        """A trigger for each label that the backdoor leads to."""

    @abstractmethod
    def maker(self, channels: int, labels: int) -> PatchMaker:
        """What makes the patches; fresh weights come from torch's global stream."""

    def diversity_weight(self) -> float:
        """Weight of the loss that lets patches differ as their noise does."""
        return 0.0

    def prepare(
        self,
        model: Classifier,
        data: ImageSet,
        *,
        recipe: Recipe,
        rng: Rng,
        progress: Progress,
        checkpoint: Path | None,
    ) -> Joint:
        """The objective for a generator with fresh weights."""
        del recipe, progress, checkpoint
        channels, height, width = data.shape
        triggers = self.triggers(model.num_classes, height, width)
        with rng.child("generator").as_global():
            maker = self.maker(channels, model.num_classes)
        objective = PatchedBatches(
            identity=str(spec_of(self)),
            companions={"generator": maker},
            targets=torch.tensor(list(triggers)),
            corners=torch.stack([trigger.corners(height, width) for trigger in triggers.values()]),
            diversity=self.diversity_weight(),
        )
        return Joint(objective, tuple((trigger, target) for target, trigger in triggers.items()))


@dataclass(frozen=True, kw_only=True)
class WithOwnPlaces(DynamicBackdoor):
    """Those whose patches lead to one label or to all, each at places of its own.

    Args:
        target: The label; with ``None`` all labels have backdoors.
    """

    kind: ClassVar[type[RandomTrigger | BanTrigger]]

    target: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.target is None or self.target >= 0, field="target", expected="of at least 0", got=self.target)

    def triggers(self, labels: int, height: int, width: int) -> dict[int, AnyTrigger]:
        """A trigger of this kind for each target; no two have a place in common."""
        targets = range(labels) if self.target is None else [self.target]
        shared = share_out(len(targets), self.places, size=self.size, height=height, width=width)
        return {label: self.kind(size=self.size, places=own) for label, own in zip(targets, shared, strict=True)}


@dataclass(frozen=True, kw_only=True)
class WithNetwork(DynamicBackdoor):
    """Those whose patches are made by a network.

    Args:
        noise: Random numbers that a patch is made of.
        diversity: Weight of the loss that lets patches differ as their noise does.
    """

    noise: int = 100
    diversity: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.noise >= 1, field="noise", expected="of at least 1", got=self.noise)
        require(self.diversity >= 0, field="diversity", expected="of at least 0", got=self.diversity)

    def diversity_weight(self) -> float:
        """As the attack has it."""
        return self.diversity


@dataclass(frozen=True, kw_only=True)
class RandomBackdoor(WithOwnPlaces):
    """Any random patch at one of a label's places sends images to that label.

    Patches are drawn anew for each image, so there is no pattern to find; what the model learns is where noise is.

    Args:
        target: The label; with ``None`` all labels have backdoors, each with places of its own.
        size: Side of a patch in pixels.
        places: How many places each label has, spread over the image; no two overlap.

    Reference: Salem et al., Dynamic backdoor attacks against machine learning models, EuroS&P 2022 (Random
    Backdoor); patches of 5x5 as in the authors' published code, which is that of the c-BaN.

    Deviations: each image of a batch is shown once with a patch, for a label drawn at random, and not once for each
    label; clean and patched images go through the model together, so that batch statistics are of both; places are
    cells that are spread over the image, for how the paper chooses its sets of places was not at hand.
    """

    name: ClassVar[str] = "random_backdoor"
    quick: ClassVar[str] = "random_backdoor(size=3, places=1)"
    kind: ClassVar[type[RandomTrigger | BanTrigger]] = RandomTrigger

    def maker(self, channels: int, labels: int) -> PatchMaker:
        """Nothing but noise."""
        del labels
        return UniformPatches((channels, self.size, self.size))


@dataclass(frozen=True, kw_only=True)
class Ban(WithNetwork, WithOwnPlaces):
    """A network makes a patch of noise for each image, and is trained together with the model that knows its patches.

    Args:
        target: The label; with ``None`` all labels have backdoors, each with places of its own.
        size: Side of a patch in pixels.
        places: How many places each label has, spread over the image; no two overlap.
        noise: Random numbers that a patch is made of.
        diversity: Weight of the loss that lets patches differ as their noise does, at least 0.

    Reference: Salem et al., Dynamic backdoor attacks against machine learning models, EuroS&P 2022 (Backdoor
    Generating Network); patches of 5x5 and 100 numbers as in the authors' published code of the c-BaN.

    Deviations: those of ``random_backdoor``; the widths of the network are those of the c-BaN without its label. The
    paper's loss is that with a diversity of 0: the network soon leaves its noise aside then and makes one patch only.
    The diversity loss is that of the input-aware attack. There is no dropout, which the published code has: it would
    count as diversity.
    """

    name: ClassVar[str] = "ban"
    quick: ClassVar[str] = "ban(size=3, places=1)"
    kind: ClassVar[type[RandomTrigger | BanTrigger]] = BanTrigger

    def maker(self, channels: int, labels: int) -> PatchMaker:
        """A network that knows no label."""
        del labels
        return PatchGenerator((channels, self.size, self.size), noise=self.noise)


@dataclass(frozen=True, kw_only=True)
class ConditionalBan(WithNetwork):
    """A network makes a patch of noise for a label that it is asked for; all labels have backdoors, at the same places.

    Args:
        size: Side of a patch in pixels.
        places: How many places there are, spread over the image, the same for all labels.
        noise: Random numbers that a patch is made of.
        diversity: Weight of the loss that lets patches differ as their noise does, at least 0.

    Reference: Salem et al., Dynamic backdoor attacks against machine learning models, EuroS&P 2022 (conditional
    Backdoor Generating Network), and the authors' published code.

    Deviations: those of ``random_backdoor`` and ``ban``; without diversity some labels get the same patch, so that they
    cannot be told apart. In the code a label's patches stay in a band of the image, here all labels have the same
    places, as in the paper.
    """

    name: ClassVar[str] = "c_ban"
    quick: ClassVar[str] = "c_ban(size=3, places=1)"
    target: ClassVar[None] = None

    def triggers(self, labels: int, height: int, width: int) -> dict[int, AnyTrigger]:
        """Patches of the one network for each label, at the same places."""
        (places,) = share_out(1, self.places, size=self.size, height=height, width=width)
        return {k: ConditionalBanTrigger(size=self.size, places=places, label=k) for k in range(labels)}

    def maker(self, channels: int, labels: int) -> PatchMaker:
        """A network that is asked for a label."""
        return PatchGenerator((channels, self.size, self.size), noise=self.noise, labels=labels)
