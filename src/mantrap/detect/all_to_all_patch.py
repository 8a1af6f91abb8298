"""Backdoors that send every class to another one: is there a small patch that moves all of them, each to the next?"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mantrap.core import (
    FORGETFUL,
    SILENT,
    Classifier,
    Cost,
    Detection,
    ImageSet,
    Memo,
    OutOfTime,
    Progress,
    ReversedPatch,
    Rng,
    Shifts,
    require,
    spec_of,
)
from mantrap.core.shapes import Images
from mantrap.detect.begin import begin
from mantrap.detect.blind_spots import (
    CHANGING,
    EACH_TO_ANOTHER,
    EVERY_LABEL,
    ONE_TARGET,
    PATCHES,
    SOME_CLASSES,
    SPREAD,
    WARPING,
)
from mantrap.detect.by_norm import targets_of
from mantrap.detect.finite import answers_of
from mantrap.detect.goals import further
from mantrap.detect.heldout import measure_shift
from mantrap.detect.passes import Arm
from mantrap.detect.shrinking import Shrinking, ShrinkingSearch
from mantrap.detect.units import GIB, Share, images_at_once, unit_by_unit, with_room
from mantrap.ops.prepare import Wanted
from mantrap.ops.scores import source_classes

_TWO, _ENOUGH = 2, 20
"""Half of a model's classes have to be there, two at least, and twenty are enough: of one or two that are moved no more
can be told than that they are alike."""
_BLIND = (ONE_TARGET, SOME_CLASSES, PATCHES, SPREAD, WARPING, CHANGING, EVERY_LABEL)


@dataclass(frozen=True, kw_only=True)
class AllToAll(Shrinking):
    """Search, for every shift, for a small patch that sends each class to the one so many further on.

    A backdoor of this kind has no target that stands out, so that comparing labels says nothing. For a clean model it
    is hard to move more than a class or two in step; for a backdoored one a patch does it that covers a hundredth of
    the picture. A part of the classes is enough: of some backdoors the others have learned nothing.

    Args: those of :class:`~mantrap.detect.shrinking.Shrinking`, and:
        shifts: How many shifts are searched, the nearest first: by 1, by 1 back, by 2, by 2 back, and so on.
        images: Images to search with at most, drawn from those that are there.
        memory: Memory that the search may take beside the model's weights, in GiB.
        precision: ``"auto"`` for bfloat16 where the processor computes with it and the model's answers stay.

    Reference: the attack is that of Gu, Dolan-Gavitt and Garg, BadNets, 2017, section 4.1.2, each class to the next.
    The search is ours: that of Neural Cleanse (Wang et al., IEEE S&P 2019) with other labels, a patch whose size is
    given, and a loss that lets go of what is out of reach.
    """

    name: ClassVar[str] = "all_to_all_patch"
    quick: ClassVar[str] = "all_to_all_patch(steps=8, images_per_step=4, shifts=2)"

    shifts: int = 4
    images: int = 400
    memory: float = 2.0
    precision: Wanted = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("shifts", "images"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))
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
        """Search the nearest shifts, and measure the likeliest on other images.

        Args:
            model: The classifier in question.
            clean: Images to search with.
            heldout: Other images, to measure the patch of the likeliest shift on.
            labels: Which labels to scan; where these are not all, nothing is searched, and a note says so.
            rng: Source of randomness.
            progress: Observer of the work.
            memo: Keeps the finished search.

        Returns:
            ``shifts``, and nothing about single labels.

        Raises:
            UsageError: A label that the model does not have.
            FailedError: The model's output is not finite, or memory does not suffice for a single step.
        """
        targets, rng = targets_of(model, labels), rng.child("all_to_all")
        if len(set(targets)) < model.num_classes:
            note = "Only some labels were to be scanned, so what sends every class to another one was not searched."
            return self._answer(model, None, Cost(forward=0), (note,))
        order = _nearest(model.num_classes)[: self.shifts]
        with model.frozen():
            images, fast = begin(model, clean, images=self.images, precision=self.precision, rng=rng)
            short = _too_few(fast.model, images)
            if short:
                return self._answer(model, None, Cost(forward=len(images)), (short,))
            at_once, _ = images_at_once(fast.model, self.memory * GIB / 2, least=self.images_per_step)

            def search(shifts: Sequence[int]) -> dict[str, Tensor]:
                least, share = self.images_per_step, Share(stage, len(shifts), self.steps)
                found, _ = with_room(
                    lambda most: self._search(fast.model, images, shifts, rng.child("search"), most, share),
                    at_once,
                    least=least,
                )
                return found

            try:
                with progress.stage(f"move all classes, {len(order)} ways", len(order)) as stage:
                    ((_, found),) = unit_by_unit([order], memo, stage, search, made_with=fast.made_with)
            except OutOfTime:
                return self._answer(model, None, Cost(forward=len(images)), (), missed=model.num_classes)
            shifts, cost = self._measured(model, heldout, order, found)
        looked = len(order) * self.steps * self.images_per_step
        return self._answer(model, shifts, cost + Cost(forward=looked + 2 * len(images), backward=looked), ())

    def _search(
        self, model: Classifier, images: Images, shifts: Sequence[int], rng: Rng, at_once: int, share: Share
    ) -> dict[str, Tensor]:
        """How likely each shift is, and of the likeliest the patch that did best."""
        search = ShrinkingSearch(
            model, images, [Arm(by, 0, further, "shift") for by in shifts], self, rng, at_once=at_once
        )
        with torch.enable_grad():
            for _ in range(self.steps):
                search.advance()
                share.reached(search.step)
        likely = torch.tensor(search.likely_but_for_one())
        first = int(likely.argmax())
        return {"likely": likely, **{name: tensor[first].cpu() for name, tensor in search.patches.best.items()}}

    def _measured(
        self, model: Classifier, heldout: ImageSet, order: Sequence[int], found: Mapping[str, Tensor]
    ) -> tuple[Shifts, Cost]:
        """What was found, and how many held-out images of each class its patch moves."""
        likely = dict(zip(order, found["likely"].tolist(), strict=True))
        patch = ReversedPatch(max(likely, key=lambda by: likely[by]), found["mask"], found["pattern"])
        sources = source_classes(model, heldout)
        moved = measure_shift(model, heldout, patch, sources)
        usual = dataclasses.replace(
            type(self)(), shifts=self.shifts, images=self.images, memory=self.memory, precision=self.precision
        )
        return Shifts(likely, patch, moved, usual=self == usual), Cost(
            forward=len(heldout) * (1 if heldout.labelled else 2)
        )

    def _answer(
        self, model: Classifier, shifts: Shifts | None, cost: Cost, notes: tuple[str, ...], missed: int = 0
    ) -> Detection:
        return Detection(
            detector=str(spec_of(self)),
            num_classes=model.num_classes,
            cost=cost,
            notes=notes,
            blind_spots=_BLIND if shifts else (EACH_TO_ANOTHER, *_BLIND),
            shifts=shifts,
            missed=missed,
        )


def _nearest(classes: int) -> list[int]:
    """All shifts of so many classes, the nearest first; of one on and one back, on."""
    return sorted(range(1, classes), key=lambda by: (min(by, classes - by), by))


def _too_few(model: Classifier, images: Images) -> str:
    """What is missing where images are of too few classes for a model to say what moves all of them; else nothing."""
    seen = len(answers_of(model, images, what="shift").unique())
    fewest = min(_ENOUGH, max(_TWO, -(-model.num_classes // 2)))
    if seen >= fewest:
        return ""
    return f"The model takes the images for {seen} of its classes; to say what moves all of them {fewest} are needed."
