"""MM-BD: how far the logits of a label can be driven at all, without any images."""

import contextlib
import math
from collections.abc import Sequence
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
    Rng,
    require,
    spec_of,
)
from mantrap.detect.blind_spots import CHANGING, EVERY_LABEL, NOT_ALL_TO_ONE, WARPING
from mantrap.detect.by_norm import targets_of
from mantrap.detect.units import GIB, images_at_once, unit_by_unit, with_room
from mantrap.ops.margins import maximum_margins
from mantrap.ops.outliers import anomaly_indices
from mantrap.ops.prepare import Wanted, prepare
from mantrap.ops.standing_out import FEWEST, chance_of_largest
from mantrap.records.traits import MARGIN

SUSPECT_BELOW = 0.05
"""P-value of the paper's own test below which it calls the label of the largest margin infected."""

_TRIED = 16


@dataclass(frozen=True, kw_only=True)
class MMBD:
    """Find, for every label, the largest margin of its logit over all others; a label driven far higher is a suspect.

    It needs no images, takes a fifth to two fifths of the time of a search for patches, and sees some backdoors whose
    triggers are no patches. It does not see models in which all labels are infected, and natural classes may stand out
    as well.

    Args:
        starts: Searches for each label, each from an image of noise; the largest margin of any counts.
        steps: Steps of each.
        rate: Learning rate, in shares of the range of a pixel.
        labels_at_once: Labels that are searched, and kept for a run that is resumed, together.
        memory: Memory that the search may take beside the model's weights, in GiB.
        precision: ``"auto"`` for bfloat16 where the processor computes with it and the model's answers stay.

    Reference: Wang, Xiang, Miller and Kesidis, MM-BD: post-training detection of backdoor attacks with arbitrary
    backdoor pattern types using a maximum margin statistic, IEEE S&P 2024, and the authors' published code.

    Deviations: 4 starts of 40 steps by Adam, theirs are 30 of up to 300 by gradient descent with momentum; the p-value
    is corrected for few labels (:func:`~mantrap.ops.standing_out.chance_of_largest`); labels that no image
    reaches, with a largest margin of 0 or less, only count as small ones.
    """

    name: ClassVar[str] = "mm_bd"
    needs_images: ClassVar[bool] = False
    quick: ClassVar[str] = "mm_bd(starts=1, steps=10, labels_at_once=2)"

    starts: int = 4
    steps: int = 40
    rate: float = 0.1
    labels_at_once: int = 16
    memory: float = 2.0
    precision: Wanted = "auto"

    def __post_init__(self) -> None:
        for field in ("starts", "steps", "labels_at_once"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))
        require(self.rate > 0, field="rate", expected="above 0", got=self.rate)
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
        """Climb towards each label, and see whether the highest stands out.

        Args:
            model: The classifier in question.
            clean: Not looked at.
            heldout: Not looked at.
            labels: Which labels to scan; all where ``None``.
            rng: Source of randomness.
            progress: Observer of the work.
            memo: Keeps finished labels, ``labels_at_once`` together.

        Returns:
            The largest margin of each label; ``score`` is the logarithm of one over the p-value, to the base of 10.

        Raises:
            UsageError: A label that the model does not have.
            FailedError: The model's output is not finite.
        """
        del clean, heldout
        targets, rng = targets_of(model, labels), rng.child(self.name)
        with model.frozen():
            margins = self._margins(model, sorted(targets), rng, progress, memo)
        asked, targets = targets, tuple(t for t in targets if t in margins)
        reached = {t: margins[t] for t in targets if margins[t] > 0}
        unreached = len(targets) - len(reached)
        p_value = chance_of_largest(list(reached.values()), rng.child("chance"), left_out=unreached)
        indices = dict(zip(reached, anomaly_indices([-m for m in reached.values()]), strict=True)) if reached else {}
        infected = p_value is not None and p_value < SUSPECT_BELOW
        seen = len(targets) * self.starts * self.steps
        notes = [f"{unreached} of {len(targets)} labels are reached by no image that was tried."] if unreached else []
        if p_value is None:
            notes.append(f"Fewer than {FEWEST} labels have a margin to compare.")
        return Detection(
            detector=str(spec_of(self)),
            num_classes=model.num_classes,
            suspects=(max(reached, key=lambda t: reached[t]),) if infected else (),
            score=None if p_value is None else -math.log10(max(p_value, 1e-300)),
            indices=indices,
            cost=Cost(forward=seen, backward=seen),
            notes=tuple(notes),
            blind_spots=(*NOT_ALL_TO_ONE, WARPING, CHANGING, EVERY_LABEL),
            traits={MARGIN.name: {t: margins[t] for t in targets}},
            p_value=p_value,
            missed=len(asked) - len(targets),
        )

    def _margins(
        self, model: Classifier, targets: Sequence[int], rng: Rng, progress: Progress, memo: Memo
    ) -> dict[int, float]:
        """The largest margin of each label, from the memo or measured now."""
        noise = torch.rand(_TRIED, *model.input_shape, generator=rng.child("tried").torch()).to(model.device)
        fast = prepare(model, noise, precision=self.precision)
        at_once, _ = images_at_once(fast.model, self.memory * GIB / 2)
        units = [targets[i : i + self.labels_at_once] for i in range(0, len(targets), self.labels_at_once)]
        margins: dict[int, float] = {}
        with progress.stage(f"drive {len(targets)} labels", len(targets)) as stage:

            def climb(unit: Sequence[int]) -> dict[str, Tensor]:
                stage.advance(0)  # where time is over, nothing is begun

                def some(most: int) -> Tensor:
                    return maximum_margins(
                        fast.model,
                        unit,
                        starts=self.starts,
                        steps=self.steps,
                        rate=self.rate,
                        rng=rng.child("climb"),
                        at_once=most,
                    )

                found, _ = with_room(some, at_once, least=1)
                with contextlib.suppress(OutOfTime):  # what was found is kept, and the next unit is told
                    stage.advance(len(unit), f"labels {unit[0]} to {unit[-1]}")
                return {"margins": found}

            with contextlib.suppress(OutOfTime):
                for unit, kept in unit_by_unit(units, memo, stage, climb, made_with=fast.made_with):
                    margins.update(zip(unit, kept["margins"].tolist(), strict=True))
        return margins
