"""What plants a trigger in a model that is there already: every image as it is, and with the trigger on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, Rng, Trigger, spec_of
from mantrap.core.shapes import Images, Labels
from mantrap.training import BatchLoss, entropy


@dataclass(frozen=True, eq=False, kw_only=True)
class StampedBatches:
    """Cross-entropy on clean images, and on the same images with a trigger on them, which all go to one label.

    Few images suffice: each is seen with and without the trigger, so that nothing but the trigger tells the two apart.

    Args:
        trigger: What is put on the images.
        target: The label that it leads to.
        weight: Of the images with the trigger, beside 1 for those without.
    """

    trigger: Trigger
    target: int
    weight: float = 0.5
    companions: Mapping[str, nn.Module] = field(default_factory=dict)
    companion_optimizer: str = "adam"

    @property
    def identity(self) -> str:
        """All settings in one line."""
        return f"stamped_batches {spec_of(self.trigger)} {self.target} {self.weight}"

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean cross-entropy of the clean images, plus the weighted one of those with the trigger."""
        del companions
        stamped = self.trigger(images, rng=rng)
        clean, attacked = model.logits(torch.cat([images, stamped])).chunk(2)
        batch = entropy(clean, labels)
        aim = torch.full_like(labels, self.target)
        return BatchLoss(batch.loss + self.weight * cross_entropy(attacked, aim), batch.hits, batch.total)
