"""Several repairs one after the other, cheap ones first, until one stands what can be tried on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from mantrap.core import (
    SILENT,
    Classifier,
    Cost,
    ImageSet,
    Progress,
    Repair,
    Repaired,
    ReversedTrigger,
    Rng,
    require,
    spec_of,
)
from mantrap.errors import FailedError, UsageError
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import accuracy, trigger_success
from mantrap.repair.carriers import check_given
from mantrap.repair.reactivation import FASTER, VARIANTS, reactivate
from mantrap.repair.steps import STEPS
from mantrap.repair.tuning import with_answers

LEFT, LOST = 0.05, 0.02
"""Most success that a trigger may have left, and most accuracy that may be lost."""
_KEPT_APART = 0.25
"""Part of the images that repairs are compared on, until one is chosen."""
_FEWEST = 8
"""Images of which that part must consist."""


@dataclass(frozen=True, kw_only=True)
class Automatic:
    """Try repairs in their order on a part of the images, and take the first that stands its trial on the rest.

    Use it where you have no reason to ask for a certain repair. A repair stands its trial if no trigger works on more
    than 5 % of the images kept apart, no more than 2 points of accuracy are lost there, and trained on with a few
    poisoned images the model does not learn its own trigger faster than variants of it. Where none stands it, the one
    is taken that exceeds these bounds by least, in sum. The repair that is taken is done anew with all images.

    Args:
        tried: Specs of repairs, the cheapest first.
    """

    name: ClassVar[str] = "auto"
    quick: ClassVar[str] = "auto(tried=('unlearning(updates=4)',))"
    needs_triggers: ClassVar[bool] = True

    tried: tuple[str, ...] = ("pruning", "unlearning", "unlearning(updates=800)")

    def __post_init__(self) -> None:
        require(len(self.tried) > 0, field="tried", expected="one repair, at least", got=self.tried)
        for spec in self.tried:
            STEPS.create(spec)

    @property
    def control(self) -> Repair:
        """That of the last repair that may be tried."""
        return STEPS.create(self.tried[-1]).control

    def repair(
        self,
        model: Classifier,
        clean: ImageSet,
        *,
        triggers: Sequence[ReversedTrigger] = (),
        rng: Rng,
        progress: Progress = SILENT,
    ) -> Repaired:
        """Try repairs until one will do.

        Raises:
            DataError: Images that do not fit the model, or that all belong to the label of a trigger.
            UsageError: There is no trigger, or one that does not fit the model, or the last repair cannot be done with
                this model or these images, and no other could.
            FailedError: The training of the last repair diverged, and no other could be done, or that of the repair
                that was taken, with all images.
        """
        check_given(model, triggers)
        labelled, cost = with_answers(model, clean)
        seen, unseen = _parted(labelled, triggers, rng.child(self.name))
        notes, best = [], None
        for spec in self.tried:
            one = STEPS.create(spec)
            try:
                made = one.repair(model, seen, triggers=triggers, rng=rng, progress=progress)
            except (FailedError, UsageError) as error:
                if best is None and spec == self.tried[-1]:
                    raise
                notes.append(f"Tried {spec}, which could not be done: {error}")
                continue
            trial = _tried(made, model, seen, unseen, triggers, rng, progress)
            cost += made.cost + trial.cost
            notes.append(f"Tried {spec}: {trial.words}.")
            if best is None or trial.excess < best[0]:
                best = trial.excess, one, spec
            if not trial.excess:
                break
        assert best is not None
        _, chosen, spec = best
        made = chosen.repair(model, labelled, triggers=triggers, rng=rng, progress=progress)
        notes.append(f"Taken is {spec}, done anew with all images.")
        return Repaired(
            made.model, str(spec_of(self)), made.images, cost + made.cost, (*notes, *made.notes), made.curve
        )


def _parted(images: ImageSet, triggers: Sequence[ReversedTrigger], rng: Rng) -> tuple[ImageSet, ImageSet]:
    """Images to repair with, and others to see what came of it; the same for both where there are too few to part."""
    assert images.labels is not None
    order = torch.randperm(len(images), generator=rng.torch()).tolist()
    apart = sorted(order[: round(_KEPT_APART * len(order))])
    labels = images.labels[apart]
    if len(apart) < _FEWEST or any(bool((labels == trigger.target).all()) for trigger in triggers):
        return images, images
    return images.subset(sorted(order[len(apart) :])), images.subset(apart)


@dataclass(frozen=True)
class Trial:
    """What a repaired model comes to on images that it has not seen, in shares of them."""

    left: float
    lost: float
    ahead: float | None
    cost: Cost

    @property
    def excess(self) -> float:
        """By how much the bounds are exceeded, in sum; 0 where none is."""
        over = (self.left - LEFT, self.lost - LOST, (self.ahead or 0.0) - FASTER)
        return sum(max(0.0, one) for one in over)

    @property
    def words(self) -> str:
        """The same in words."""
        again = "whether it comes back cannot be told"
        if self.ahead is not None:
            again = f"it comes back {100 * self.ahead:+z.0f} points ahead of variants"
        return f"a trigger works on {100 * self.left:.1f} %, accuracy {-100 * self.lost:+z.1f} points, {again}"


def _tried(
    made: Repaired,
    before: Classifier,
    seen: ImageSet,
    unseen: ImageSet,
    triggers: Sequence[ReversedTrigger],
    rng: Rng,
    progress: Progress,
) -> Trial:
    """How a repaired model does; only the trigger that works most, or else the first one, is tried again."""
    model = made.model
    left = [trigger_success(model, unseen, partial(put_on, trigger=t), t.target).value for t in triggers]
    lost = accuracy(before, unseen).value - accuracy(model, unseen).value
    trigger = triggers[left.index(max(left))]
    again = reactivate(
        model, before, seen, unseen, trigger, rng=rng.child("reactivation", target=trigger.target), progress=progress
    )
    cost = Cost(forward=(2 + len(left)) * len(unseen))
    cost += Cost(forward=VARIANTS * len(unseen)) if again is None else again.cost
    return Trial(max(left), lost, None if again is None else again.ahead, cost)
