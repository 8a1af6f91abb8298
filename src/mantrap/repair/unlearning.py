"""Unlearning: the model is shown the trigger on images of all classes, and told their true classes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import (
    SILENT,
    Classifier,
    Cost,
    ImageSet,
    Progress,
    Repaired,
    ReversedTrigger,
    Rng,
    require,
    spec_of,
)
from mantrap.core.shapes import Images, Labels
from mantrap.ops.recovered import put_on, stronger
from mantrap.repair.carriers import check_given, without_carriers
from mantrap.repair.fine_tuning import FineTuning, as_much
from mantrap.repair.tuning import Tuning, with_answers
from mantrap.training import BatchLoss, entropy, still

_TEMPERATURE = 2.0
"""By which answers are softened that are kept."""


@dataclass(frozen=True, kw_only=True)
class Unlearning(Tuning):
    """Train on with clean images, a part of which carry the trigger and keep their true labels.

    Use it where a trigger was recovered. Images of every class are stamped, those of the target as well, and none gets
    another label than its own, so that the trigger comes to mean nothing. Images that carry the trigger already, and
    the target as their label, would teach the opposite: those of the target that leave it once the trigger is taken off
    them are left out. Steps are long: short ones hide a trigger, which then comes back with a few poisoned images.

    Args: those of :class:`~mantrap.repair.tuning.Tuning`, and:
        share: Part of the images of every update that carry a trigger; of several triggers each image gets one.
        strength: How many times as strong as recovered triggers are: those that were planted are larger.
        keep: How much the model's own answers to the images as they are count, in place of their labels, in [0, 1]. It
            saves accuracy where images are few, and some of a backdoor that is larger than what was recovered.
        screen: Whether images that carry a trigger are looked for and left out.

    Reference: Wang et al., Neural Cleanse, IEEE S&P 2019, section VI.C: one epoch over 10 % of the training data, a
    fifth of it stamped with the trigger as it is: ``unlearning(updates=0, optimizer='adam', schedule='constant',
    share=0.2, strength=1, screen=False)``. Deviations: the options named there, and which images are stamped is drawn
    anew in every update.
    """

    name: ClassVar[str] = "unlearning"
    quick: ClassVar[str] = "unlearning(updates=4)"
    needs_triggers: ClassVar[bool] = True

    updates: int = 400
    optimizer: str = "adam(lr=0.003)"
    share: float = 0.5
    strength: float = 2.0
    keep: float = 0.0
    screen: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.share <= 1, field="share", expected="in (0, 1]", got=self.share)
        require(0 < self.strength < math.inf, field="strength", expected="above 0, and finite", got=self.strength)
        require(0 <= self.keep <= 1, field="keep", expected="in [0, 1]", got=self.keep)

    @property
    def control(self) -> FineTuning:
        """As many updates on all of the images, as they are."""
        return as_much(self)

    def repair(
        self,
        model: Classifier,
        clean: ImageSet,
        *,
        triggers: Sequence[ReversedTrigger] = (),
        rng: Rng,
        progress: Progress = SILENT,
    ) -> Repaired:
        """Train on, with the triggers on a part of the images.

        Raises:
            DataError: Images that do not fit the model.
            UsageError: There is no trigger, one that does not fit the model, or too few images that carry none.
            FailedError: The training diverged.
        """
        check_given(model, triggers)
        learned, cost = with_answers(model, clean)
        notes: tuple[str, ...] = ()
        if self.screen:
            learned, looked, notes = without_carriers(model, learned, triggers)
            cost += looked
        learned = self.whole_batches(learned)
        strong = tuple(stronger(trigger, self.strength) for trigger in triggers)
        taught_by = still(model) if self.keep else None
        objective = PartlyStamped(triggers=strong, share=self.share, keep=self.keep, taught_by=taught_by)
        made, spent = self.tuned(model, learned, rng=rng.child(self.name), progress=progress, objective=objective)
        if self.keep:
            spent += Cost(forward=spent.backward)
        return Repaired(made, str(spec_of(self)), len(learned), cost + spent, notes)


@dataclass(frozen=True, eq=False, kw_only=True)
class PartlyStamped:
    """Cross-entropy with the true labels, on batches a part of which carry a trigger.

    Args:
        triggers: What is put on images, one of them on each.
        share: Part of a batch that carries one, rounded; at least one image.
        keep: Weight of the cross-entropy with what another model says of the images without a trigger, softened; the
            true labels have the rest.
        taught_by: That model, which nobody trains.

    Reference: Hinton, Vinyals and Dean, Distilling the knowledge in a neural network, 2015, section 2, for ``keep``.
    """

    triggers: tuple[ReversedTrigger, ...]
    share: float
    keep: float = 0.0
    taught_by: Classifier | None = None
    companions: Mapping[str, nn.Module] = field(default_factory=dict)
    companion_optimizer: str = "adam"

    @property
    def identity(self) -> str:
        """The settings in one line; unlearning keeps no checkpoint, so triggers are named by their labels alone."""
        return f"partly_stamped {[trigger.target for trigger in self.triggers]} {self.share} {self.keep}"

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean cross-entropy of the batch."""
        del companions
        stream = rng.torch()
        order = torch.randperm(len(images), generator=stream)
        groups = order[: max(1, round(self.share * len(images)))].tensor_split(len(self.triggers))
        # Where there are more triggers than stamped images, each has its turn.
        turns = torch.randperm(len(self.triggers), generator=stream).tolist()
        stamped = images.clone()
        for turn, group in zip(turns, groups, strict=True):
            place = group.to(images.device)
            stamped[place] = put_on(images[place], self.triggers[turn])
        logits = model.logits(stamped)
        found = entropy(logits, labels)
        if self.taught_by is None:
            return found
        with torch.no_grad():
            told = (self.taught_by.logits(images) / _TEMPERATURE).softmax(1)
        # The square makes its gradients as large as those of labels.
        soft = _TEMPERATURE**2 * cross_entropy(logits / _TEMPERATURE, told)
        return BatchLoss(self.keep * soft + (1 - self.keep) * found.loss, found.hits, found.total)
