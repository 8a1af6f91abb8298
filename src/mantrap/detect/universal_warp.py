"""The slight warp that brings all images nearest to a label: what triggers look like that bend an image."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from mantrap.core import (
    FORGETFUL,
    SILENT,
    Classifier,
    Cost,
    Detection,
    ImageSet,
    LabelFinding,
    Memo,
    OutOfTime,
    Progress,
    ReversedWarp,
    Rng,
    require,
    spec_of,
)
from mantrap.core.shapes import Images
from mantrap.detect.begin import begin
from mantrap.detect.blind_spots import CHANGING, NOT_ALL_TO_ONE, PATCHES, SPREAD, WARPING
from mantrap.detect.by_norm import Found, norm_detection, targets_of
from mantrap.detect.heldout import FACTORS, strong_enough
from mantrap.detect.passes import Arm
from mantrap.detect.units import GIB, Share, images_at_once, unit_by_unit, with_room
from mantrap.detect.warping import Warping, WarpSearch
from mantrap.ops.prepare import Wanted
from mantrap.records.traits import WARP

_TESTED = 200
_SOME, _MANY = 64, 256
"""Labels, drawn at random, that are looked at first where there are so many; if most of them are far, no others are."""
_SURE: Final = WARP.floor
"""Nearness is told so far from 0 and 1 and no farther."""
_FAR = "From most labels a slight warp leaves all images as far as can be told, so labels cannot be compared by it."
_FAR_AWAY = "That was seen of {:,} labels, drawn at random from {:,}; the others were not looked at."
_UNIT = "how many times as far from the label as near to it a slight warp leaves images"


@dataclass(frozen=True, kw_only=True)
class UniversalWarp(Warping):
    """Find, for every label, the slight and smooth warp that brings images nearest to it.

    Use it where a trigger may bend the image, which no patch and no faint change of pixels imitates. For clean models
    such a warp does next to nothing, whatever the label; where one was planted, it sends all images there.

    Args: those of :class:`~mantrap.detect.warping.Warping` and :class:`~mantrap.detect.limited.Limited`, and:
        images: Images to search with at most, drawn from those that are there.
        finalists: Labels, those that images come nearest to, whose warps are kept.
        final_threshold: Share of images that a warp has to send to its label in the end; it is made stronger until it
            does.
        labels_at_once: Labels that are searched together at most: what is lost when a run is killed.
        memory: Memory that the search may take beside the model's weights, in GiB.
        precision: ``"auto"`` for bfloat16 where the processor computes with it and the model's answers stay.

    Reference: the attack is that of Nguyen and Tran, WaNet, ICLR 2021, of whose warps section 3 says that they run
    smoothly through a small grid of vectors. The search is ours: that of Neural Cleanse (Wang et al., IEEE S&P 2019)
    for such a grid, of a size that is given.
    """

    name: ClassVar[str] = "universal_warp"
    quick: ClassVar[str] = "universal_warp(steps=24, labels_at_once=2)"

    images: int = 400
    finalists: int = 2
    final_threshold: float = 0.99
    labels_at_once: int = 16
    memory: float = 2.0
    precision: Wanted = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("images", "finalists", "labels_at_once"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))
        share = self.final_threshold
        require(0 < share <= 1, field="final_threshold", expected="in (0, 1]", got=share)
        require(self.memory > 0, field="memory", expected="above 0 GiB", got=self.memory)

    def detect(
        self,
        model: Classifier,
        clean: ImageSet,
        *,
        heldout: ImageSet,
        labels: Sequence[int] | None = None,
        rng: Rng,
        progress: Progress = SILENT,
        memo: Memo = FORGETFUL,
    ) -> Detection:
        """Search all labels, and measure the warps of the best few on other images.

        Args:
            model: The classifier in question.
            clean: Images to search with; those of other classes serve a label.
            heldout: Other images, to measure the success of warps on.
            labels: Which labels to scan; all where ``None``.
            rng: Source of randomness.
            progress: Observer of the work.
            memo: Keeps finished labels, ``labels_at_once`` together.

        Returns:
            The trait ``warp`` of each label, and the warps of the finalists. Norms are the odds against the label.

        Raises:
            UsageError: A label that the model does not have.
            FailedError: The model's output is not finite, or memory does not suffice for a single step.
        """
        targets, rng = targets_of(model, labels), rng.child(self.name)
        with model.frozen():
            images, fast = begin(model, clean, images=self.images, precision=self.precision, rng=rng)
            near, warps, whole = self._searched(
                fast.model, images, sorted({*targets}), rng, progress, memo, fast.made_with
            )
            tested, at_once = images[:_TESTED], self.images_per_step
            triggers = tuple(
                strong_enough(
                    fast.model, tested, ReversedWarp(t, warps[t]), share=self.final_threshold, at_once=at_once
                )
                for t in warps
            )
        seen = len(near) * self.steps * self.images_per_step
        tried = len(warps) * (1 + len(FACTORS)) * len(tested)
        cost = Cost(forward=seen + len(images) + tried, backward=seen)
        told = {t: min(max(near[t], _SURE), 1 - _SURE) for t in targets if t in near}
        findings = tuple(LabelFinding(t, (1 - told[t]) / told[t], self.steps, "last step") for t in told)
        tells, wanted = not told or WARP.tells(told.values()), len({*targets})
        notes = (
            () if tells else (_FAR, *([_FAR_AWAY.format(len(near), wanted)] if whole and len(near) < wanted else ()))
        )
        return norm_detection(
            str(spec_of(self)),
            model,
            Found(findings, triggers, cost, notes, missed=0 if whole else wanted - len(near)),
            heldout=heldout,
            unit=_UNIT,
            traits={WARP.name: told},
            blind_spots=(*NOT_ALL_TO_ONE, PATCHES, SPREAD, *(() if tells else (WARPING,)), CHANGING),
        )

    def _searched(
        self,
        model: Classifier,
        images: Images,
        targets: Sequence[int],
        rng: Rng,
        progress: Progress,
        memo: Memo,
        made_with: str,
    ) -> tuple[dict[int, float], dict[int, Tensor], bool]:
        """How near images come to each label, the flows of the best few, and whether time sufficed for all of it.

        Of many labels a random part comes first; if most of these are out of reach, the rest is left.
        """
        at_once, _ = images_at_once(model, self.memory * GIB / 2, least=self.images_per_step)
        near: dict[int, float] = {}
        flows: dict[int, Tensor] = {}

        def search(unit: Sequence[int]) -> dict[str, Tensor]:
            share = Share(stage, len(unit), self.steps)

            def some(most: int) -> dict[str, Tensor]:
                return self._unit(model, images, unit, rng.child("search"), most, share)

            found, _ = with_room(some, at_once, least=self.images_per_step)
            return found

        named = f"warp towards {len(targets)} labels"
        with progress.stage(named, len(targets)) as stage, contextlib.suppress(OutOfTime):  # what was found counts
            first = 0
            for part in _parts(targets, rng.child("some")):
                if near and not WARP.tells(near.values()):
                    stage.advance(len(part), "most labels are far")
                    return near, flows, True
                units = [part[i : i + self.labels_at_once] for i in range(0, len(part), self.labels_at_once)]
                for unit, kept in unit_by_unit(units, memo, stage, search, made_with=made_with, first=first):
                    near.update(zip(unit, kept["near"].tolist(), strict=True))
                    flows.update(zip([unit[i] for i in kept["first"].tolist()], kept["flows"], strict=True))
                    best = sorted(flows, key=lambda label: (-near[label], label))[: self.finalists]
                    flows = {label: flows[label] for label in best}
                first += len(units)
        return near, flows, len(near) == len(targets)

    def _unit(
        self, model: Classifier, images: Images, unit: Sequence[int], rng: Rng, at_once: int, share: Share
    ) -> dict[str, Tensor]:
        """How near images come to each label of a unit, and the flows of the best few."""
        search = WarpSearch(model, images, [Arm(label, 0) for label in unit], self, rng, at_once=at_once)
        for step in range(self.steps):
            search.advance()
            share.reached(step + 1)
        near = search.nearness()
        first = near.argsort(descending=True, stable=True)[: self.finalists]
        flows = search.warps.flows(search.warps.control[first])
        return {"near": near.cpu(), "first": first.cpu(), "flows": flows.cpu()}


def _parts(targets: Sequence[int], rng: Rng) -> list[Sequence[int]]:
    """The labels, in order; of many first some that are drawn, then the others."""
    if len(targets) < _MANY:
        return [targets]
    drawn = set(torch.randperm(len(targets), generator=rng.torch())[:_SOME].tolist())
    return [[t for i, t in enumerate(targets) if (i in drawn) is wanted] for wanted in (True, False)]
