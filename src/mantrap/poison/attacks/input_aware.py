"""The input-aware dynamic backdoor: every image gets a trigger that works on that image alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Progress, Rng, require, spec_of
from mantrap.core.shapes import Images, Labels
from mantrap.ops.diversity import diversity_loss, partners
from mantrap.poison.attacks.joint import Joint, JointTraining, Shares, check_target, require_shares
from mantrap.poison.triggers.input_aware import ImageMasks, InputAwareTrigger, sharpened, show
from mantrap.training import BatchLoss, Recipe, entropy, fit

_OPTIMIZER = "adam(lr=0.01, betas=(0.5, 0.9))"
_NORM_WEIGHT = 100.0


@dataclass(frozen=True, kw_only=True)
class InputAware(JointTraining):
    """Two networks make a trigger for each image; it sends that image to the target, and no other image.

    First the network for masks is trained by itself, to masks that are small and differ as images do. Then the model
    and the network for patterns are trained together: some images of each batch carry their own trigger and get the
    target as their label, others carry the trigger of another image and keep theirs.

    Args:
        target: The label that triggered images get.
        rate: Poisoned images as a share of each batch, in (0, 1].
        cross_ratio: Images with another image's trigger, for each poisoned one, at least 0.
        density: Value of a mask, in (0, 1), above which it is penalised.
        diversity: Weight of the loss that lets triggers differ as images do, at least 0.
        mask_epochs: Epochs that the network for masks is trained, with the recipe's batches and augmentation.
        width: Channels of the networks after their first convolution; 16 for digits and 32 for colour images in the
            paper.
        levels: How often their maps are halved; 2 for digits and 3 for colour images in the paper.

    Reference: Nguyen and Tran, Input-aware dynamic backdoor attack, NeurIPS 2020, section 3 (rates 0.1 and 0.1, density
    0.032, diversity 1, weight 100 of the masks' size), and the authors' published code.

    Deviations: the other images are those of the same batch, moved on by a random number of places; where masks are
    compared, images count from -1 to 1 whatever the model's normalisation, as theirs do for digits; the lower bound of
    a distance is under the root, so that equal masks have a gradient; the gradients of the network for patterns are set
    to zero at every step, which their code leaves out; the networks' learning rates fall as the recipe's schedule has
    it; 5 epochs for the masks, theirs are 25, for after some 500 steps they change little; images of the target class
    are not poisoned.
    """

    name: ClassVar[str] = "input_aware"
    quick: ClassVar[str] = "input_aware(mask_epochs=1, width=2, levels=1)"

    target: int = 0
    rate: float = 0.1
    cross_ratio: float = 1.0
    density: float = 0.032
    diversity: float = 1.0
    mask_epochs: int = 5
    width: int = 16
    levels: int = 2

    def __post_init__(self) -> None:
        require(self.target >= 0, field="target", expected="of at least 0", got=self.target)
        require_shares(self.rate, self.cross_ratio)
        require(0 < self.density < 1, field="density", expected="in (0, 1)", got=self.density)
        require(self.diversity >= 0, field="diversity", expected="of at least 0", got=self.diversity)
        require(self.mask_epochs >= 1, field="mask_epochs", expected="of at least 1", got=self.mask_epochs)
        InputAwareTrigger(width=self.width, levels=self.levels)

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
        """The objective, with masks from a network that is trained here."""
        shares = Shares(self.rate, self.rate * self.cross_ratio)
        shares.check(recipe, data, self.target)
        check_target(self.target, model)  # before the masks are trained
        trigger = InputAwareTrigger(width=self.width, levels=self.levels)
        with rng.child("generators").as_global():
            pattern, mask = trigger.pattern_network(data.shape[0]), trigger.mask_network(data.shape[0])
        identity = str(spec_of(self))
        after = None
        if checkpoint is not None:
            after = checkpoint.with_name(f"{checkpoint.name}.joint")
            if not checkpoint.exists():  # then what lies there is of other work, for the masks come first
                after.unlink(missing_ok=True)
        masks = fit(
            model,
            data,
            recipe=replace(recipe, epochs=self.mask_epochs, patience=0),
            rng=rng.child("masks"),
            objective=SmallDiverseMasks(identity, {"mask": mask}, density=self.density, diversity=self.diversity),
            progress=progress,
            checkpoint=checkpoint,
        ).companions["mask"]
        masks.requires_grad_(False)
        objective = OwnTriggerBatches(
            identity, {"pattern": pattern}, mask=masks, target=self.target, shares=shares, diversity=self.diversity
        )
        return Joint(objective, ((trigger, self.target),), finished={"mask": masks}, checkpoint=after)


@dataclass(frozen=True, eq=False)
class SmallDiverseMasks:
    """What the network for masks is trained on; the model has no part in it and stays as it is.

    Args:
        identity: All settings in one line.
        companions: The network, ``mask``.
        density: Value above which a mask is penalised.
        diversity: Weight of the diversity.
        companion_optimizer: As in the authors' code.
    """

    identity: str
    companions: Mapping[str, nn.Module]
    density: float = field(kw_only=True)
    diversity: float = field(kw_only=True)
    companion_optimizer: str = _OPTIMIZER

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """100 times the mean excess of the masks over the density, plus the diversity loss."""
        del model, labels
        masks: ImageMasks = sharpened(companions["mask"](images))
        loss = _NORM_WEIGHT * (masks - self.density).relu().mean()
        spread = 2 * images - 1
        others = partners(len(images), rng.child("partners")).to(images.device)
        loss = loss + self.diversity * diversity_loss(spread, spread[others], masks, masks[others])
        return BatchLoss(loss, 0, len(images))


@dataclass(frozen=True, eq=False)
class OwnTriggerBatches:
    """What the model and the network for patterns are trained on.

    Args:
        identity: All settings in one line.
        companions: The network for patterns, ``pattern``.
        mask: The trained network for masks, on the model's device.
        target: The label of the poisoned images.
        shares: How much of a batch carries its own trigger, and how much that of another image.
        diversity: Weight of the diversity.
        companion_optimizer: As in the authors' code.
    """

    identity: str
    companions: Mapping[str, nn.Module]
    mask: nn.Module = field(kw_only=True)
    target: int = field(kw_only=True)
    shares: Shares = field(kw_only=True)
    diversity: float = field(kw_only=True)
    companion_optimizer: str = _OPTIMIZER

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean cross-entropy of the batch with its triggers, plus the diversity loss of their patterns."""
        own, cross = self.shares.draw(labels, self.target)
        others = partners(len(images), rng.child("partners")).to(images.device)[cross]
        changed = torch.cat([own, cross])
        if len(changed) == 0:
            return entropy(model.logits(images), labels)
        sources = images[torch.cat([own, others])]
        patterns = companions["pattern"](sources)
        shown = images.clone()
        shown[changed] = show(images[changed], patterns, sharpened(self.mask(sources)))
        wanted = labels.clone()
        wanted[own] = self.target
        batch = entropy(model.logits(shown), wanted)
        pairs = min(len(own), len(cross))
        first, second = slice(0, pairs), slice(len(own), len(own) + pairs)
        apart = diversity_loss(sources[first], sources[second], patterns[first], patterns[second])
        return BatchLoss(batch.loss + self.diversity * apart, batch.hits, batch.total)
