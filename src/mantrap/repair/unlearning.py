"""Unlearning: the model is shown the trigger on images of all classes, and told their true classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor, nn

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
from mantrap.errors import UsageError
from mantrap.ops.recovered import put_on, stronger
from mantrap.ops.scores import predictions_under
from mantrap.repair.carriers import carriers
from mantrap.repair.fine_tuning import FineTuning
from mantrap.repair.tuning import Tuning, with_answers
from mantrap.repair.weights import nearest, part_way
from mantrap.training import BatchLoss, entropy

_TESTED = 400
_WORKS = 0.005
"""Share of images that a trigger may still send to its label to count as one that does not work."""
_CARRIED = "Of {1:,} images {0:,} seem to carry a trigger already, and were left out."


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
        margin: How far the weights go beyond the point where no trigger works any more, as a part of what is left of
            their way: 1 for all of it. Less costs less accuracy, and leaves more of what the model remembers.
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
    margin: float = 1.0
    screen: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.share <= 1, field="share", expected="in (0, 1]", got=self.share)
        require(self.strength > 0, field="strength", expected="above 0", got=self.strength)
        require(0 <= self.margin <= 1, field="margin", expected="in [0, 1]", got=self.margin)

    @property
    def control(self) -> FineTuning:
        """As many updates on the same images, none of which carry a trigger."""
        return FineTuning(**{f.name: getattr(self, f.name) for f in fields(Tuning)})

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
            UsageError: There is no trigger.
            FailedError: The training diverged.
        """
        if not triggers:
            raise UsageError(
                expected="a recovered trigger to unlearn",
                got="none",
                remedy="Repair with the triggers of an audit that found some, or with fine_tuning, which needs none.",
            )
        learned, cost = with_answers(model, clean)
        notes: tuple[str, ...] = ()
        if self.screen:
            carry, looked = carriers(model, learned, triggers)
            cost += looked
            if bool(carry.any()):
                learned = learned.subset((~carry).nonzero().flatten().tolist())
                notes = (_CARRIED.format(int(carry.sum()), len(carry)),)
        strong = tuple(stronger(trigger, self.strength) for trigger in triggers)
        objective = PartlyStamped(triggers=strong, share=self.share)
        made, spent = self.tuned(model, learned, rng=rng.child(self.name), progress=progress, objective=objective)
        made, tried = self._taken_back(model, made, learned, strong)
        return Repaired(made, str(spec_of(self)), len(learned), cost + spent + tried, notes)

    def _taken_back(
        self, model: Classifier, made: Classifier, images: ImageSet, triggers: Sequence[ReversedTrigger]
    ) -> tuple[Classifier, Cost]:
        """As much of the way as is needed, and what trying that cost."""
        if self.margin == 1:
            return made, Cost()
        tested = images.subset(range(min(len(images), _TESTED)))
        assert tested.labels is not None
        tests = [(trigger, tested.labels.ne(trigger.target)) for trigger in triggers]

        def harmless(share: float) -> bool:
            some = part_way(model, made, share)
            return all(_moved(some, tested, trigger, others) <= _WORKS for trigger, others in tests)

        share, asked = nearest(harmless)
        made = part_way(model, made, share + self.margin * (1 - share))
        return made, Cost(forward=asked * len(tests) * len(tested))


def _moved(model: Classifier, images: ImageSet, trigger: ReversedTrigger, others: Bool[Tensor, " n"]) -> float:
    """Share of some images that a trigger sends to its label; 0 where there are none."""
    hits = predictions_under(model, images, lambda batch: put_on(batch, trigger)) == trigger.target
    return float(hits[others].float().mean()) if bool(others.any()) else 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class PartlyStamped:
    """Cross-entropy with the true labels, on batches a part of which carry a trigger.

    Args:
        triggers: What is put on images, one of them on each.
        share: Part of a batch that carries one, rounded; at least one image.
    """

    triggers: tuple[ReversedTrigger, ...]
    share: float
    companions: Mapping[str, nn.Module] = field(default_factory=dict)
    companion_optimizer: str = "adam"

    @property
    def identity(self) -> str:
        """The settings in one line; unlearning keeps no checkpoint, so triggers are named by their labels alone."""
        return f"partly_stamped {[trigger.target for trigger in self.triggers]} {self.share}"

    def loss(
        self, model: Classifier, images: Images, labels: Labels, *, companions: Mapping[str, nn.Module], rng: Rng
    ) -> BatchLoss:
        """The mean cross-entropy of the batch."""
        del companions
        order = torch.randperm(len(images), generator=rng.torch())
        groups = order[: max(1, round(self.share * len(images)))].tensor_split(len(self.triggers))
        stamped = images.clone()
        for trigger, group in zip(self.triggers, groups, strict=True):
            if len(group):
                place = group.to(images.device)
                stamped[place] = put_on(images[place], trigger)
        return entropy(model.logits(stamped), labels)
