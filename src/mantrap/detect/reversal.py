"""Detectors that search for the smallest trigger of every label with many arms at once, and compare their sizes."""

import dataclasses
import math
from abc import ABC, abstractmethod
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
    LabelFinding,
    Memo,
    Progress,
    ReversedTrigger,
    Rng,
    require,
    spec_of,
)
from mantrap.core.shapes import Images
from mantrap.detect.arms import ArmSearch, ArmSettings
from mantrap.detect.begin import begin
from mantrap.detect.by_norm import Found, norm_detection, targets_of
from mantrap.detect.heldout import FACTORS, strong_enough
from mantrap.detect.low_cost import search_listed
from mantrap.detect.passes import Arm
from mantrap.detect.unit_search import Searched, UnitSearch
from mantrap.detect.units import no_memory
from mantrap.ops.prepare import Wanted
from mantrap.records.audit import GIVEN_UP

_FEWEST = 16
"""Labels that are drawn, and of which none is given up, at least."""
_FINAL_WARM_UP = 0.3
_SHORTER = 0.3
"""Steps at the end, as a share of those before."""
_TESTED = 200


@dataclass(frozen=True, kw_only=True)
class Reversal(ArmSettings, ABC):
    """Search all labels; then go on with those of the smallest triggers, and measure these on other images.

    Args:
        images: Images to search with at most, drawn from those that are there.
        finalists: Labels, those of the smallest triggers, whose search goes on; only their triggers are kept.
        final_steps: Steps of that.
        final_images: Images that each of these steps looks at.
        final_threshold: Share of images that a trigger has to send to its label in the end; it is made stronger until
            it does.
        many: Labels up to which all are searched to the end. Of more, most are given up early, and the others are
            compared with a random sample (:mod:`mantrap.detect.halving`).
        sample: How many labels are drawn for that.
        low_cost: Whether who goes on is chosen as the paper does (:mod:`mantrap.detect.low_cost`), which takes longer.
        precision: ``"auto"`` for bfloat16 where the processor computes with it and the model's answers stay;
            ``"float32"`` or ``"bfloat16"``.
    """

    name: ClassVar[str]
    blind_spots: ClassVar[tuple[str, ...]]
    unit: ClassVar[str]

    images: int = 400
    finalists: int = 3
    final_steps: int = 20
    final_images: int = 16
    final_threshold: float = 0.99
    many: int = 512
    sample: int = 512
    low_cost: bool = False
    precision: Wanted = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("images", "finalists", "final_steps", "final_images"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))
        for field in ("many", "sample"):
            least, got = _FEWEST, getattr(self, field)
            require(got >= least, field=field, expected=f"of at least {least}", got=got)
        share = self.final_threshold
        require(0 < share <= 1, field="final_threshold", expected="in (0, 1]", got=share)

    @abstractmethod
    def traits(self, norms: Mapping[int, float], shape: tuple[int, int, int]) -> dict[str, dict[int, float]]:
        """What the sizes of the triggers say of each label, for images [c, h, w]."""

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
        """Search all labels, go on with the best few, measure these on other images, and compare the sizes.

        Args:
            model: The classifier in question.
            clean: Images to search with; those of other classes serve a label.
            heldout: Other images, to measure the success of triggers on.
            labels: Which labels to scan; all where ``None``.
            rng: Source of randomness.
            progress: Observer of the work.
            memo: Keeps finished labels, ``labels_at_once`` together.

        Returns:
            A norm for each label, and the triggers of the finalists; ``score`` is the anomaly index of the smallest
            norm.

        Raises:
            UsageError: A label that the model does not have.
            FailedError: The model's output is not finite, or memory does not suffice for a single step.
        """
        targets, rng = targets_of(model, labels), rng.child(self.name)
        with model.frozen():
            images, fast = begin(model, clean, images=self.images, precision=self.precision, rng=rng)
            search = UnitSearch(fast.model, images, self, self.finalists, rng.child("search"), fast.made_with)
            searched = self._searched(search, targets, progress, memo)
            triggers, said = self._finish(fast.model, images, searched, rng.child("finish"))
            norms = {label: norm for label, norm in searched.norms.items() if math.isfinite(norm)}
            findings = tuple(found for t in targets if (found := self._finding(t, searched)) is not None)
            seen = len(triggers) * self.final_steps * self.final_images
            tested = len(triggers) * (1 + len(FACTORS)) * min(_TESTED, len(images))
            cost = searched.cost + Cost(forward=seen + tested, backward=seen)
            notes = (*searched.notes, *_told(searched), *said)
            missed = len(targets) - len(findings)
            return norm_detection(
                str(spec_of(self)),
                model,
                Found(findings, triggers, cost, notes, missed=missed, population=searched.drawn),
                heldout=heldout,
                unit=self.unit,
                traits=self.traits(norms, model.input_shape),
                blind_spots=self.blind_spots,
            )

    def _searched(self, search: UnitSearch, targets: Sequence[int], progress: Progress, memo: Memo) -> Searched:
        """All labels, or of many those that look likeliest and a sample."""
        if len(targets) <= self.many:
            return search.run(targets, progress=progress, memo=memo)
        if self.low_cost:
            return search_listed(search, targets, sample=self.sample, progress=progress, memo=memo)
        return dataclasses.replace(search, sample=self.sample).run(targets, progress=progress, memo=memo)

    def _finding(self, label: int, searched: Searched) -> LabelFinding | None:
        """What was found out about a label; ``None`` where it was not reached."""
        if label in searched.given_up:
            return LabelFinding(label, None, searched.given_up[label], GIVEN_UP)
        norm = searched.norms.get(label)
        return None if norm is None else LabelFinding(label, norm if norm < math.inf else None, self.steps, "last step")

    def _finish(
        self, model: Classifier, images: Images, searched: Searched, rng: Rng
    ) -> tuple[tuple[ReversedTrigger, ...], tuple[str, ...]]:
        """Search on from the smallest triggers, in shorter steps; one that never works here is as it was.

        Where memory runs out they are left as they are, and a note says so.
        """
        if not searched.smallest:
            return (), ()
        settings = dataclasses.replace(
            self.slower(_SHORTER),
            steps=self.final_steps,
            images_per_step=self.final_images,
            warm_up=_FINAL_WARM_UP,
        )
        begun = settings.go_on(
            {name: tensor.to(images.device, copy=True) for name, tensor in searched.triggers.items()}
        )
        arms = [Arm(label, 0) for label in searched.smallest]
        best: Mapping[str, Tensor] = begun.best
        notes: tuple[str, ...] = ()
        try:
            with torch.enable_grad():
                ArmSearch(model, images, arms, settings, rng, at_once=self.final_images, triggers=begun).run()
        except (MemoryError, RuntimeError) as error:
            if not no_memory(error):
                raise
            best, notes = searched.triggers, ("Memory ran out: the triggers shown were not searched any further.",)
        found = ({name: tensor[place].cpu() for name, tensor in best.items()} for place in range(len(arms)))
        triggers = [self.recovered(arm.target, made_of) for arm, made_of in zip(arms, found, strict=True)]
        with torch.no_grad():
            return tuple(
                strong_enough(model, images[:_TESTED], one, share=self.final_threshold, at_once=self.final_images)
                for one in triggers
            ), notes


def _told(searched: Searched) -> tuple[str, ...]:
    """What the reader must know of labels that were given up, where any were."""
    if searched.drawn is None or not searched.given_up:
        return ()
    ended, early = len(searched.norms), searched.given_up.values()
    said = (
        f"{len(early):,} of {ended + len(early):,} labels were given up early, after {min(early)} to {max(early)} "
        f"steps, for others looked likelier. Labels are compared with {len(searched.drawn):,} that were drawn at "
        "random and searched to the end."
    )
    return (said,)
