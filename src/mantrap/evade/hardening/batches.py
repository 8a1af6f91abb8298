"""What all hardenings share: images of every batch are made to mislead the model as it is, and learned."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import (
    SILENT,
    Classifier,
    Hardened,
    ImageSet,
    Problem,
    Progress,
    Rng,
    Spec,
    build,
    require,
    spec_of,
)
from mantrap.core.shapes import Images, Labels
from mantrap.evade.hardening.watch import Budgeted, Diary, hold_out, told, under_attack
from mantrap.training import BatchLoss, Recipe, check_fits, entropy, fit

_DIARY = "diary"


class BatchHardening(ABC):
    """The verb of a hardening that says what to minimise on a batch."""

    @property
    @abstractmethod
    def budget(self) -> Budgeted | None:
        """How far perturbations go; ``None`` where they go as far as they must."""

    @abstractmethod
    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """See :class:`~mantrap.training.Objective`."""

    def companions(self, images: ImageSet) -> Mapping[str, nn.Module]:
        """What goes along with the training on these images; nothing by default."""
        del images
        return {}

    def train(
        self,
        model: Classifier,
        images: ImageSet,
        *,
        recipe: str,
        rng: Rng,
        progress: Progress = SILENT,
        checkpoint: Path | None = None,
    ) -> Hardened:
        """See :class:`~mantrap.core.Hardening`.

        A tenth of the images, 256 at most, are not learned: after every epoch they are attacked in one step and in
        many, which shows whether the model comes to stand one step only.
        """
        check_fits(model, images)
        settings = build(Recipe, Spec.parse(recipe))
        learned, heldout = (images, None) if self.budget is None else hold_out(images, rng.child("heldout"))
        diary = Diary(settings.epochs, -(-len(learned) // settings.batch_size))
        objective = _Watched(hardening=self, heldout=heldout, companions={**self.companions(learned), _DIARY: diary})
        made = fit(
            model,
            learned,
            recipe=settings,
            rng=rng,
            objective=objective,
            progress=progress,
            checkpoint=checkpoint,
        )
        record = replace(
            made.record,
            images=len(images),
            data_name=images.name,
            data_digest=images.digest(),
            against=str(spec_of(self)),
        )
        if heldout is None or self.budget is None:
            return Hardened(made.model, record, ("No images were held out: nothing says how attacks on it went.",))
        kept = made.companions[_DIARY]
        assert isinstance(kept, Diary)
        last = under_attack(made.model, heldout, self.budget, rng.child("last"))
        attacked = kept.records(len(record.epochs), last)
        record = replace(record, heldout=len(heldout), attacked=attacked)
        return Hardened(made.model, record, told(attacked, len(heldout), model.num_classes, self.budget))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Watched:
    """The loss of a hardening; before the first batch of every epoch the model is attacked."""

    hardening: BatchHardening
    heldout: ImageSet | None
    companions: Mapping[str, nn.Module] = field(default_factory=dict)
    companion_optimizer: str = "adam"

    @property
    def identity(self) -> str:
        return str(spec_of(self.hardening))

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        diary, budget = companions[_DIARY], self.hardening.budget
        assert isinstance(diary, Diary)
        epoch = diary.turns()
        if epoch is not None and self.heldout is not None and budget is not None:
            diary.write(epoch, under_attack(model, self.heldout, budget, rng.child("heldout")))
        return self.hardening.loss(model, images, labels, companions=companions, rng=rng)


@dataclass(frozen=True, kw_only=True)
class Mixture(Budgeted, BatchHardening):
    """Cross-entropy of images as they are and of the same images perturbed, weighted.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        clean: Weight of the images as they are, in [0, 1); the perturbed ones have the rest.
    """

    clean: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.clean < 1, field="clean", expected="in [0, 1)", got=self.clean)

    @property
    def budget(self) -> Budgeted:
        """How far perturbations go."""
        return self

    @abstractmethod
    def perturbed(self, problem: Problem, rng: Rng) -> Images:
        """The images of a batch, changed within the budget; the model is frozen meanwhile."""

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The weighted mean; right answers are counted on clean images, unless these have no weight."""
        del companions
        with model.frozen():
            moved = self.perturbed(Problem(model, images, labels), rng.child("perturbed")).detach()
        if not self.clean:
            return entropy(model.logits(moved), labels)
        plain, misled = model.logits(torch.cat([images, moved])).chunk(2)
        batch = entropy(plain, labels)
        loss = self.clean * batch.loss + (1 - self.clean) * cross_entropy(misled, labels)
        return BatchLoss(loss, batch.hits, batch.total)
