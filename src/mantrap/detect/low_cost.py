"""Neural Cleanse's low-cost scheme for many labels: once the list of the smallest triggers stays, only these go on."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import Cost, Memo, OutOfTime, Progress
from mantrap.detect.arms import ArmSearch
from mantrap.detect.halving import deal
from mantrap.detect.unit_search import Searched, UnitSearch
from mantrap.detect.units import Share, plan_units, unit_by_unit, with_room

LISTED: Final = 100
"""Labels of the smallest triggers that are on the list."""
_SHARED = 50
"""More labels than these have to be on the list of the step before as well."""
_STEADY = 10
"""Steps in a row for which that has to be so."""


def settled(norms: Float[Tensor, "k steps"]) -> int | None:
    """The step, counted from 1, after which the list of the smallest has stayed; ``None`` where it has not.

    Args:
        norms: How large the trigger of each label is after each step.

    Reference: Wang et al., Neural Cleanse, IEEE S&P 2019, the low-cost scheme that is measured there on YouTube Face.
    """
    steady, before = 0, set[int]()
    for step in range(norms.shape[1]):
        now = _smallest(norms[:, step])
        steady = steady + 1 if len(now & before) > _SHARED else 0
        if steady == _STEADY:
            return step + 1
        before = now
    return None


def search_listed(
    search: UnitSearch, labels: Sequence[int], *, sample: int, progress: Progress, memo: Memo
) -> Searched:
    """Look at all labels for some steps; search those on the list to the end, and a random sample beside them.

    Args:
        search: How to search.
        labels: What to search for, each once.
        sample: Labels that are drawn at random and searched to the end in any case, to compare with.
        progress: Observer.
        memo: Finished units are taken from here and put here.

    Returns:
        What was found: of all labels where the list has not stayed by the end of the look, of none where time was over
        before.

    Raises:
        FailedError: The model's output is not finite, or memory does not suffice for a single arm.

    Reference: that of :func:`settled`. Deviations: the steps are those of this project's search, of which the first do
    not count, in which the norm costs nothing; the look has a fixed length, and those on the list begin anew, so that
    no triggers are held; labels are compared with a random sample.
    """
    free = -int(-search.settings.warm_up * search.settings.steps // 1)
    steps = min(search.settings.steps, free + _STEADY + 1)
    norms, units = _look(search, labels, steps, progress, memo)
    seen = len(norms) * steps * search.settings.restarts * search.settings.images_per_step
    cost = Cost(forward=seen, backward=seen)
    if len(norms) < len(labels):
        return Searched({}, (), {}, cost, (), {}, ())
    ordered = sorted(labels)
    table = torch.stack([norms[label] for label in ordered])
    last = settled(table[:, free:])
    if last is None:
        found = search.run(ordered, progress=progress, memo=memo, first=units)
        return dataclasses.replace(found, cost=cost + found.cost)
    drawn = deal(ordered, together=1, sample=sample, rng=search.rng.child("deal")).drawn
    chosen = drawn | {ordered[place] for place in _smallest(table[:, free + last - 1])}
    found = search.run(sorted(chosen), progress=progress, memo=memo, first=units)
    return dataclasses.replace(
        found,
        cost=cost + found.cost,
        given_up=dict.fromkeys(sorted({*labels} - chosen), steps),
        drawn=tuple(sorted(drawn & found.norms.keys())),
    )


def _look(
    search: UnitSearch, labels: Sequence[int], steps: int, progress: Progress, memo: Memo
) -> tuple[dict[int, Tensor], int]:
    """The size of each label's smallest trigger after each of so many steps, [steps], and how many units there were."""
    units, settings = plan_units(search.model, labels, search.settings, images=len(search.images)), search.settings

    def look(unit: Sequence[int]) -> dict[str, Tensor]:
        share = Share(stage, len(unit), steps)

        def some(most: int) -> Tensor:
            arms = search.arms_of(unit)
            one = ArmSearch(search.model, search.images, arms, settings, search.rng, at_once=most)
            norms = []
            for step in range(1, steps + 1):
                one.advance()
                norms.append(one.triggers.norms().view(len(unit), settings.restarts).amin(1).cpu())
                share.reached(step)
            return torch.stack(norms, 1)

        return {"sizes": with_room(some, units.at_once, least=settings.images_per_step)[0]}

    found: dict[int, Tensor] = {}
    with torch.enable_grad(), progress.stage(f"look at {len(labels)} {search.what}s", len(labels)) as stage:
        made = unit_by_unit(units.labels, memo, stage, look, made_with=search.made_with)
        with contextlib.suppress(OutOfTime):
            for unit, kept in made:
                found.update(zip(unit, kept["sizes"], strict=True))
    return found, len(units.labels)


def _smallest(norms: Float[Tensor, " k"]) -> set[int]:
    """The places of the smallest of some norms."""
    return {*norms.argsort(stable=True)[:LISTED].tolist()}
