"""The search of many labels, unit after unit: what is finished is kept, and memory holds only the smallest triggers."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mantrap.core import Classifier, Cost, Memo, OutOfTime, Progress, Rng
from mantrap.core.shapes import Images
from mantrap.detect.arms import ArmSearch, ArmSettings
from mantrap.detect.goals import Goals, to_one
from mantrap.detect.passes import Arm
from mantrap.detect.units import Share, plan_units, unit_by_unit, with_room


@dataclass(frozen=True)
class Searched:
    """What a search of many labels came to.

    Args:
        norms: How large each label's smallest trigger is that worked; infinite where none did. Labels that were not
            reached for want of time have none.
        smallest: The labels of the smallest triggers, smallest first; only labels where one worked.
        triggers: What these triggers are made of, [k, ...] in the same order.
        cost: Images that went through the model.
        notes: What the reader must know.
    """

    norms: Mapping[int, float]
    smallest: tuple[int, ...]
    triggers: Mapping[str, Tensor]
    cost: Cost
    notes: tuple[str, ...]


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
    """

    model: Classifier
    images: Images
    settings: ArmSettings
    keep: int
    rng: Rng
    made_with: str = ""
    goals: Goals = to_one
    what: str = "label"

    def run(self, labels: Sequence[int], *, progress: Progress, memo: Memo) -> Searched:
        """Search all labels.

        Args:
            labels: What to search for.
            progress: Observer; one unit a label, counted in parts as it goes.
            memo: Finished units are taken from here and put here.

        Raises:
            FailedError: The model's output is not finite, or memory does not suffice for a single arm.
        """
        units = plan_units(self.model, labels, self.settings, images=len(self.images))
        at_once, short = units.at_once, 0

        def search(unit: Sequence[int]) -> dict[str, Tensor]:
            share = Share(stage, len(unit), self.settings.steps)
            least = self.settings.images_per_step
            kept, room = with_room(lambda most: self._search(unit, most, share), at_once, least=least)
            return {**kept, "at_once": torch.tensor(room)}

        norms: dict[int, float] = {}
        best = _Smallest(self.keep)
        with torch.enable_grad(), progress.stage(f"search {len(labels)} {self.what}s", len(labels)) as stage:
            found = unit_by_unit(units.labels, memo, stage, search, made_with=self.made_with)
            with contextlib.suppress(OutOfTime):
                for unit, kept in found:
                    at_once = min(at_once, int(kept["at_once"]))
                    short += at_once < units.at_once
                    norms.update(zip(unit, kept["norms"].tolist(), strict=True))
                    best.take(kept)
        seen = len(norms) * self.settings.restarts * self.settings.steps * self.settings.images_per_step
        said = (
            f"Memory ran out: {short} of {len(units.labels)} parts of the search had fewer images in a pass than the "
            f"planned {units.at_once}, at the end {at_once}."
        )
        cost = Cost(forward=seen, backward=seen)
        return Searched(norms, best.labels, best.triggers, cost, (said,) if short else ())

    def _search(self, unit: Sequence[int], at_once: int, share: Share) -> dict[str, Tensor]:
        """The norms of a unit, and the smallest of its triggers."""
        restarts = self.settings.restarts
        arms = [Arm(label, restart, self.goals, self.what) for label in unit for restart in range(restarts)]
        search = ArmSearch(self.model, self.images, arms, self.settings, self.rng, at_once=at_once)
        for step in range(self.settings.steps):
            search.advance()
            share.reached(step + 1)
        norms, restart = search.best_norm.view(len(unit), restarts).min(1)
        place = torch.arange(len(unit), device=norms.device) * restarts + restart
        first = norms.argsort(stable=True)[: self.keep]
        return {
            "norms": norms.cpu(),
            "first": first.cpu(),
            **{name: tensor[place[first]].cpu() for name, tensor in search.triggers.best.items()},
        }


class _Smallest:
    """The smallest triggers of those that were taken."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._found: list[tuple[float, int, dict[str, Tensor]]] = []

    def take(self, unit: Mapping[str, Tensor]) -> None:
        """Take those of a unit."""
        made_of = [name for name in unit if name not in ("labels", "norms", "at_once", "first")]
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
