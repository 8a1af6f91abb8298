"""WaNet: a warping of the image as the trigger, trained against other warpings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Progress, Rng, require, spec_of
from mantrap.core.shapes import Images, Labels
from mantrap.ops.warp import warp
from mantrap.poison.attacks.joint import Joint, JointTraining, Shares, require_shares
from mantrap.poison.triggers.warp import Warp, unit_steps
from mantrap.training import BatchLoss, Recipe, entropy


@dataclass(frozen=True, kw_only=True)
class WaNet(JointTraining):
    """A warping too small to be seen sends images to the target; any other warping does not.

    Some images of each batch are warped and get the target as their label. Others are warped by the same field with
    noise added and keep their labels, so that the model learns the one field and not warping as such.

    Args:
        target: The label that warped images get.
        rate: Poisoned images as a share of each batch, in (0, 1].
        cross_ratio: Images with noise in the field, for each poisoned one, at least 0.
        grid: Control points of the field in each direction, at least 2.
        strength: How far pixels move, above 0; see the trigger ``warp``.

    Reference: Nguyen and Tran, WaNet: imperceptible warping-based backdoor attack, ICLR 2021, section 3 (grid 4,
    strength 0.5, rate 0.1, twice as many images with noise), and the authors' published code.

    Deviations: augmentation comes before the warping, theirs after it; images of the target class are not poisoned;
    images that are not square, see ``warp``.
    """

    name: ClassVar[str] = "wanet"
    quick: ClassVar[str] = "wanet(grid=3)"

    target: int = 0
    rate: float = 0.1
    cross_ratio: float = 2.0
    grid: int = 4
    strength: float = 0.5

    def __post_init__(self) -> None:
        require(self.target >= 0, field="target", expected="of at least 0", got=self.target)
        require_shares(self.rate, self.cross_ratio)
        require(self.strength > 0, field="strength", expected="above 0", got=self.strength)
        Warp(grid=self.grid)

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
        """The objective for a field that is drawn now."""
        del model, progress, checkpoint
        shares = Shares(self.rate, self.rate * self.cross_ratio)
        shares.check(recipe, data, self.target)
        trigger = Warp(seed=rng.child("field").integer() % 2**32, grid=self.grid, strength=self.strength)
        objective = WarpedBatches(identity=str(spec_of(self)), trigger=trigger, target=self.target, shares=shares)
        return Joint(objective, ((trigger, self.target),))


@dataclass(frozen=True, eq=False, kw_only=True)
class WarpedBatches:
    """Cross-entropy on batches with warped images in them."""

    identity: str
    trigger: Warp
    target: int
    shares: Shares
    companions: Mapping[str, nn.Module] = field(default_factory=dict)
    companion_optimizer: str = "adam"

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean cross-entropy over poisoned images, images with noise in the field, and the others."""
        del companions
        poisoned, noise = self.shares.draw(labels, self.target)
        height, width = images.shape[2:]
        offsets = torch.rand(len(noise), 2, height, width, generator=rng.child("noise").torch()) * 2 - 1
        noisy = (self.trigger.flow(height, width) + unit_steps(height, width) * offsets).to(images.device)
        images, labels = images.clone(), labels.clone()
        images[noise] = warp(images[noise], noisy)
        images[poisoned] = self.trigger(images[poisoned], rng=rng)
        labels[poisoned] = self.target
        return entropy(model.logits(images), labels)
