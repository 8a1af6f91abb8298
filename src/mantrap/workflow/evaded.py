"""What came of an evasion, as a record."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from mantrap.core import Evasion, NotingEvasion, spec_of
from mantrap.ops.eight_bits import LEVELS, whole_levels
from mantrap.ops.intervals import wilson
from mantrap.records.evading import (
    BudgetRecord,
    EvadedExample,
    EvasionRecord,
    SmallestRecord,
    StandingAccuracyRecord,
)
from mantrap.workflow.evading import spent_of
from mantrap.workflow.evidence import prediction
from mantrap.workflow.led_astray import Astray, Tried, Victims
from mantrap.workflow.pictures import picture

_SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Of the farthest that an image had to go: budgets at which an evasion of the smallest norm is looked at."""
_QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, eq=False)
class Evaded:
    """An evasion and what came of it.

    Args:
        evasion: As it was named.
        tried: The same with each of its budgets, in rising order; nothing for one of the smallest norm.
        last: What it came to, with the largest budget if it has one.
    """

    evasion: Evasion
    tried: tuple[Tried, ...]
    last: Astray

    def within(self, eps: float) -> Bool[Tensor, " n"] | None:
        """Where it misled the model with a budget of at most ``eps``, [n]; ``None`` where it had none so small."""
        if not self.tried:
            return self.last.misled(eps)
        spent = [one.astray.misled() for one in self.tried if one.eps <= eps]
        return torch.stack(spent).any(0) if spent else None


def evasion_record(evaded: Evaded, among: Victims, total: int) -> EvasionRecord:
    """All that is to be said of one evasion.

    Args:
        evaded: What came of it.
        among: Images that the model gets right.
        total: How many there are with those that it gets wrong.
    """
    evasion, last = evaded.evasion, evaded.last
    if evaded.tried:
        budgets = tuple(_spent(one.astray, one.eps, total, behind=among.bare is not None) for one in evaded.tried)
        smallest, largest = None, evaded.tried[-1].eps
    else:
        farthest = float(last.saved_size.max())
        budgets = tuple(_within(last, share * farthest, total) for share in _SHARES if farthest > 0)
        smallest, largest = _smallest(last), None
    return EvasionRecord(
        evasion=str(spec_of(evasion)),
        norm=spent_of(evasion),
        needs_gradients=evasion.needs_gradients,
        budgets=budgets,
        smallest=smallest,
        largest=largest,
        examples=_examples(last, among),
        notes=evasion.notes(among.model) if isinstance(evasion, NotingEvasion) else (),
    )


def standing(evaded: Sequence[Evaded], total: int) -> tuple[StandingAccuracyRecord, ...]:
    """What no evasion gets wrong, by norm and budget.

    What was found with a smaller budget counts for a larger one, and one of the smallest norm where its way is short
    enough. Where there are none but these, budgets are parts of the farthest that any of them had to go.
    """
    found = []
    for norm in sorted({spent_of(one.evasion) for one in evaded}):
        alike = [one for one in evaded if spent_of(one.evasion) == norm]
        for eps in _budgets(alike):
            misled = [one.within(eps) for one in alike]
            known = [one for one in misled if one is not None]
            still = int((~torch.stack(known).any(0)).sum())
            found.append(StandingAccuracyRecord(norm=norm, eps=eps, accuracy=wilson(still, total), evasions=len(known)))
    return tuple(found)


def _budgets(alike: Sequence[Evaded]) -> list[float]:
    """The budgets at which evasions of one norm are looked at together, in rising order."""
    tried = sorted({one.eps for each in alike for one in each.tried})
    farthest = max(float(one.last.saved_size.max()) for one in alike)
    return tried or [share * farthest for share in _SHARES if farthest > 0]


def _spent(astray: Astray, eps: float, total: int, *, behind: bool) -> BudgetRecord:
    """What became of a budget."""
    misled = astray.misled()
    return BudgetRecord(
        eps=eps,
        accuracy=wilson(int(astray.right.sum()), total),
        reached=wilson(int(astray.reached.sum()), len(astray.reached)),
        in_floats=wilson(int(astray.right_in_floats.sum()), total),
        noise=wilson(int(astray.right_with_noise.sum()), total),
        unaware=wilson(int(astray.right_unaware.sum()), total) if behind else None,
        confidence=float(astray.sure[misled].mean()) if bool(misled.any()) else None,
        beyond=int(astray.outside),
    )


def _within(astray: Astray, eps: float, total: int) -> BudgetRecord:
    """What a budget would have been enough for."""
    near, misled = astray.saved_size <= eps, astray.misled(eps)
    in_floats = ~astray.right_in_floats & (astray.size <= eps)
    return BudgetRecord(
        eps=eps,
        accuracy=wilson(int((~misled).sum()), total),
        reached=wilson(int((astray.reached & near).sum()), len(near)),
        in_floats=wilson(int((~in_floats).sum()), total),
        noise=None,
        unaware=None,
        confidence=float(astray.sure[misled].mean()) if bool(misled.any()) else None,
        beyond=0,
    )


def _smallest(astray: Astray) -> SmallestRecord:
    there = astray.reached_in_floats
    sizes = astray.size[there]
    return SmallestRecord(
        reached=wilson(int(there.sum()), len(there)),
        saved=wilson(int(astray.reached.sum()), len(there)),
        quartiles=_quartiles(sizes) if len(sizes) else None,
        distortion=float(astray.distortion[there].mean()) if len(sizes) else None,
    )


def _quartiles(sizes: Tensor) -> tuple[float, float, float]:
    first, middle, third = torch.quantile(sizes.double(), torch.tensor(_QUARTERS, dtype=torch.double)).tolist()
    return first, middle, third


def _examples(astray: Astray, among: Victims) -> tuple[EvadedExample, ...]:
    """The first images, before and after."""
    model, shown = among.judge, astray.shown
    before = whole_levels(among.images.images(list(range(len(shown)))))
    with model.frozen(), torch.no_grad():
        sources, outcomes = (model.logits(i.to(model.device)).softmax(1).cpu() for i in (before, shown))
    found = []
    for place in range(len(shown)):
        change = shown[place] - before[place]
        times = 0.5 / max(float(change.abs().max()), 1 / LEVELS)
        number, name = among.numbers[place], model.class_names[int(among.labels[place])]
        found.append(
            EvadedExample(
                number=number,
                true_class=name,
                before=picture(before[place], f"Image {number}, {name}."),
                change=picture(0.5 + times * change, f"The change, {times:.3g} times as strong, on grey."),
                after=picture(shown[place], f"Image {number} after the change."),
                times=times,
                size=float(astray.saved_size[place]),
                source=prediction(model, sources[place]),
                outcome=prediction(model, outcomes[place]),
            )
        )
    return tuple(found)
