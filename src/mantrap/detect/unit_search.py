"""The search of many labels, unit after unit: what is finished is kept, and memory holds only the smallest triggers."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mantrap.core import Classifier, Cost, Memo, OutOfTime, Progress, Rng
from mantrap.core.shapes import Images
from mantrap.detect.arms import ArmSearch, ArmSettings
from mantrap.detect.goals import Goals, to_one
from mantrap.detect.halving import Dealt, deal, going_on, looks
from mantrap.detect.passes import Arm
from mantrap.detect.units import Share, plan_units, unit_by_unit, with_room

_SAID = ("labels", "norms", "steps", "at_once", "first")
"""What a unit comes to, beside what its smallest triggers are made of."""


@dataclass(frozen=True)
class Searched:
    """What a search of many labels came to.

    Args:
        norms: How large each label's smallest trigger is that worked; infinite where none did. Labels that were given
            up, or not reached for want of time, have none.
        smallest: The labels of the smallest triggers, smallest first; only labels where one worked.
        triggers: What these triggers are made of, [k, ...] in the same order.
        cost: Images that went through the model.
        notes: What the reader must know.
        given_up: After how many steps each label was given up for others that looked likelier; none where all were
            searched to the end.
        drawn: Labels that were drawn at random, of those that have a norm; ``None`` where all were searched alike.
    """

    norms: Mapping[int, float]
    smallest: tuple[int, ...]
    triggers: Mapping[str, Tensor]
    cost: Cost
    notes: tuple[str, ...]
    given_up: Mapping[int, int] = field(default_factory=dict)
    drawn: tuple[int, ...] | None = None


@dataclass(frozen=True)
class UnitSearch:
    """Searches for the smallest trigger of each of many labels.

    How labels are put together follows from model, labels and settings alone. Where memory runs out all the same, the
    unit begins again with half as many images in a pass, and so does every unit after it.

    Args:
        model: The classifier, frozen; best a fast copy.
        images: Images to search with, [n, c, h, w] in [0, 1], on the model's device.
        settings: How, and for what kind of triggers.
        keep: How many triggers are kept.
        rng: Source of randomness; what an arm draws does not depend on the unit that it is in.
        made_with: Device and precision, for the memo.
        goals: What the numbers of arms mean.
        what: What to call one of them in a message.
        sample: Labels, drawn at random, that are searched to the end in any case, while of the others those are given
            up that look unlikely; ``None`` to search all to the end.
    """

    model: Classifier
    images: Images
    settings: ArmSettings
    keep: int
    rng: Rng
    made_with: str = ""
    goals: Goals = to_one
    what: str = "label"
    sample: int | None = None

    def run(self, labels: Sequence[int], *, progress: Progress, memo: Memo, first: int = 0) -> Searched:
        """Search all labels.

        Args:
            labels: What to search for.
            progress: Observer; one unit a label, counted in parts as it goes.
            memo: Finished units are taken from here and put here.
            first: The number of the first unit, where others came before it.

        Raises:
            FailedError: The model's output is not finite, or memory does not suffice for a single arm.
        """
        units = plan_units(self.model, labels, self.settings, images=len(self.images))
        at_once, short, dealt = units.at_once, 0, Dealt(units.labels, frozenset(labels))
        if self.sample is not None:
            together = max(map(len, units.labels), default=1)
            dealt = deal(labels, together=together, sample=self.sample, rng=self.rng.child("deal"))

        def search(unit: Sequence[int]) -> dict[str, Tensor]:
            share = Share(stage, len(unit), self.settings.steps)
            least = self.settings.images_per_step
            kept, room = with_room(lambda most: self._search(unit, dealt.drawn, most, share), at_once, least=least)
            return {**kept, "at_once": torch.tensor(room)}

        norms: dict[int, float] = {}
        steps: dict[int, int] = {}
        best = _Smallest(self.keep)
        with torch.enable_grad(), progress.stage(f"search {len(labels)} {self.what}s", len(labels)) as stage:
            found = unit_by_unit(dealt.units, memo, stage, search, made_with=self.made_with, first=first)
            with contextlib.suppress(OutOfTime):
                for unit, kept in found:
                    at_once = min(at_once, int(kept["at_once"]))
                    short += at_once < units.at_once
                    norms.update(zip(unit, kept["norms"].tolist(), strict=True))
                    steps.update(zip(unit, kept["steps"].tolist(), strict=True))
                    best.take(kept)
        seen = sum(steps.values()) * self.settings.restarts * self.settings.images_per_step
        given_up = {label: step for label, step in sorted(steps.items()) if step < self.settings.steps}
        said = (
            f"Memory ran out: {short} of {len(dealt.units)} parts of the search had fewer images in a pass than the "
            f"planned {units.at_once}, at the end {at_once}."
        )
        cost = Cost(forward=seen, backward=seen)
        return Searched(
            {label: norm for label, norm in norms.items() if label not in given_up},
            best.labels,
            best.triggers,
            cost,
            (said,) if short else (),
            given_up,
            None if self.sample is None else tuple(sorted(dealt.drawn & norms.keys())),
        )

    def arms_of(self, unit: Sequence[int]) -> list[Arm]:
        """Where the searches for some labels begin, label by label."""
        return [Arm(one, restart, self.goals, self.what) for one in unit for restart in range(self.settings.restarts)]

    def _search(self, unit: Sequence[int], drawn: frozenset[int], at_once: int, share: Share) -> dict[str, Tensor]:
        """The norms of a unit, after how many steps each was left, and the smallest of its triggers."""
        restarts = self.settings.restarts
        search = ArmSearch(self.model, self.images, self.arms_of(unit), self.settings, self.rng, at_once=at_once)
        left, steps = torch.arange(len(unit)), torch.full((len(unit),), self.settings.steps)
        halts = looks(self.settings.steps) if not drawn.issuperset(unit) else ()
        for step in range(1, self.settings.steps + 1):
            search.advance()
            if step in halts:
                near = search.nearness().view(len(left), restarts).amax(1)
                staying = going_on(near, [unit[place] in drawn for place in left.tolist()])
                steps[left] = step
                left = left[staying]
                steps[left] = self.settings.steps
                rows = (staying[:, None] * restarts + torch.arange(restarts)).flatten()
                search.only(rows.to(near.device))
            share.reached(step)
        ended, restart = search.best_norm.view(len(left), restarts).min(1)
        place = torch.arange(len(left), device=ended.device) * restarts + restart
        first = ended.argsort(stable=True)[: self.keep]
        norms = torch.full((len(unit),), math.inf, dtype=ended.dtype)
        norms[left] = ended.cpu()
        return {
            "norms": norms,
            "steps": steps,
            "first": left[first.cpu()],
            **{name: tensor[place[first]].cpu() for name, tensor in search.triggers.best.items()},
        }


class _Smallest:
    """The smallest triggers of those that were taken."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._found: list[tuple[float, int, dict[str, Tensor]]] = []

    def take(self, unit: Mapping[str, Tensor]) -> None:
        """Take those of a unit."""
        made_of = [name for name in unit if name not in _SAID]
        for row, place in enumerate(unit["first"].tolist()):
            norm = float(unit["norms"][place])
            if norm < math.inf:
                self._found.append((norm, int(unit["labels"][place]), {name: unit[name][row] for name in made_of}))
        self._found = sorted(self._found, key=lambda one: one[:2])[: self._keep]

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(label for _, label, _ in self._found)

    @property
    def triggers(self) -> dict[str, Tensor]:
        parts = [made_of for _, _, made_of in self._found]
        return {name: torch.stack([part[name] for part in parts]) for name in (parts[0] if parts else ())}
