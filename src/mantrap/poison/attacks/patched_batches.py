"""What a model with a dynamic backdoor is trained on: each image as it is, and with a patch."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, Rng
from mantrap.core.shapes import Images, Labels
from mantrap.ops.diversity import diversity_loss, partners
from mantrap.poison.generators import PatchMaker
from mantrap.poison.triggers.dynamic import put_somewhere
from mantrap.training import BatchLoss, entropy


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchedBatches:
    """Cross-entropy on clean images and on the same images with patches, one for each.

    Args:
        identity: All settings in one line.
        companions: What makes the patches, ``generator``.
        targets: The labels that patches lead to, [l].
        corners: The places of each of them, [l, p, 2].
        diversity: Weight of the loss that lets patches differ as their noise does.
        companion_optimizer: As for the model in the authors' code.
    """

    identity: str
    companions: Mapping[str, nn.Module]
    targets: Labels
    corners: Int64[Tensor, "l p 2"]
    diversity: float
    companion_optimizer: str = "adam"

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean cross-entropy of the clean images, plus that of the patched ones, plus the weighted diversity."""
        maker, count = companions["generator"], len(images)
        assert isinstance(maker, PatchMaker)
        drawn = torch.randint(len(self.targets), (count,), generator=rng.child("targets").torch())
        aims = self.targets[drawn].to(images.device)
        noise = maker.draw(count, rng.child("noise")).to(images.device)
        patches = maker(noise, aims)
        patched = put_somewhere(images, patches, self.corners[drawn], rng=rng.child("places"))
        clean, attacked = model.logits(torch.cat([images, patched])).chunk(2)
        batch = entropy(clean, labels)
        loss = batch.loss + cross_entropy(attacked, aims)
        if self.diversity > 0:
            others = partners(count, rng.child("partners")).to(images.device)
            loss = loss + self.diversity * diversity_loss(noise, noise[others], patches, patches[others])
        return BatchLoss(loss, batch.hits, batch.total)
