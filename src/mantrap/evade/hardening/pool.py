"""Training beside a pool of adversarial examples that is kept and refreshed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mantrap.core import BudgetedEvasion, Classifier, Evasion, ImageSet, Problem, Rng, require
from mantrap.core.shapes import Images, Labels
from mantrap.evade import EVASIONS
from mantrap.evade.hardening.batches import BatchHardening
from mantrap.evade.hardening.watch import NORMS, Budgeted
from mantrap.training import BatchLoss, entropy

_POOL = "pool"


@dataclass(frozen=True, kw_only=True)
class Pool(BatchHardening):
    """Learn adversarial examples from a pool beside the images, and replace some of them with every batch.

    Examples are made for the model as it was, and stay for a while: that makes costly evasions affordable. What the
    model finds hard it sees again and again, as with hard-negative mining.

    Args:
        evasion: Spec of the evasion that makes them; one of a fixed budget is also what the record reports.
        size: Examples that are kept, at most as many as there are images.
        renewed: Share of a batch for which new ones are made, in (0, 1]; they take random places in the pool.
        mixed: Examples that are learned with a batch, as a share of it.

    Reference: Szegedy et al., Intriguing properties of neural networks, ICLR 2014, section 4.2.

    Deviations: the paper keeps a pool for the output of every layer, and finds that those matter more; here pixels are
    perturbed. It names no sizes.
    """

    name: ClassVar[str] = "pool"
    quick: ClassVar[str] = "pool(evasion='fgsm(eps=0.1)', size=8, renewed=0.25)"
    evasion: str = "pgd(steps=10, step=0.25)"
    size: int = 10_000
    renewed: float = 0.1
    mixed: float = 1.0

    def __post_init__(self) -> None:
        EVASIONS.create(self.evasion)
        require(self.size >= 1, field="size", expected="of at least 1", got=self.size)
        require(0 < self.renewed <= 1, field="renewed", expected="in (0, 1]", got=self.renewed)
        require(self.mixed > 0, field="mixed", expected="above 0", got=self.mixed)

    @property
    def budget(self) -> Budgeted | None:
        """That of the evasion, where it has one that can be watched."""
        evasion: Evasion = EVASIONS.create(self.evasion)
        if not isinstance(evasion, BudgetedEvasion) or evasion.norm not in NORMS:
            return None
        return Budgeted(eps=evasion.eps, norm="linf" if evasion.norm == "linf" else "l2")

    def companions(self, images: ImageSet) -> Mapping[str, nn.Module]:
        """An empty pool."""
        return {_POOL: Kept(min(self.size, len(images)), images.shape)}

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean cross-entropy over the batch and over examples of the pool, after some of them were made anew."""
        pool = companions[_POOL]
        assert isinstance(pool, Kept)
        renewed, mixed = max(1, round(self.renewed * len(images))), max(1, round(self.mixed * len(images)))
        with model.frozen():
            problem = Problem(model, images[:renewed], labels[:renewed])
            made = EVASIONS.create(self.evasion).search(problem, rng=rng.child("evasion")).detach()
        pool.put(made, labels[:renewed], rng.child("places"))
        examples, theirs = pool.draw(mixed, rng.child("drawn"))
        logits = model.logits(torch.cat([images, examples]))
        batch = entropy(logits[: len(images)], labels)
        return BatchLoss(cross_entropy(logits, torch.cat([labels, theirs])), batch.hits, batch.total)


class Kept(nn.Module):
    """Images with their labels; without weights, it goes along with a training so that a checkpoint has it.

    Args:
        size: Most images.
        shape: Of an image, [c, h, w].
    """

    images: Tensor
    labels: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def put(self, images: Images, labels: Labels, rng: Rng) -> None:
        """Add images while there is room, then let them take the places of others at random."""
        begin, size = int(self.filled), len(self.images)
        count = min(len(images), size)
        free = torch.arange(begin, min(begin + count, size))
        taken = torch.randperm(begin, generator=rng.torch())[: count - len(free)]
        places = torch.cat([free, taken]).to(self.images.device)
        self.images[places], self.labels[places] = images[:count].to(self.images.dtype), labels[:count]
        self.filled.fill_(min(begin + count, size))

    def draw(self, count: int, rng: Rng) -> tuple[Images, Labels]:
        """So many of them at random, or all where there are fewer."""
        chosen = torch.randperm(int(self.filled), generator=rng.torch())[:count].to(self.images.device)
        return self.images[chosen], self.labels[chosen]
