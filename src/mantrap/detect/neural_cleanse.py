"""Neural Cleanse, fast: for every label, find the smallest patch that sends all images there.

The label that a backdoor leads to needs a much smaller patch than the others. All labels and restarts are searched as
one tensor, on a copy of the model that was made fast; then the labels with the smallest patches are searched on, with
more images a step, so that their triggers are worth showing.
"""

import dataclasses
import math
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
from mantrap.detect.arm_triggers import PatchArms, Patches
from mantrap.detect.arms import Arm, ArmSearch
from mantrap.detect.by_norm import Found, norm_detection, targets_of
from mantrap.detect.unit_search import Searched, UnitSearch
from mantrap.detect.units import no_memory
from mantrap.ops.prepare import Wanted, prepare

_TRIED = 16
"""Images that a fast copy is compared on."""
_FINAL_WARM_UP = 0.3
_SHORTER = 0.3
"""Steps at the end, as a share of those before."""


@dataclass(frozen=True, kw_only=True)
class NeuralCleanse(PatchArms):
    """Find, for every label, the smallest patch that sends all images there; a label that needs far less is a suspect.

    Use it where a backdoor shows itself by a small patch at a fixed place. It does not see backdoors that react to
    some classes only or that send every class elsewhere, nor triggers that cover much of the image.

    Args:
        images: Images to search with at most, drawn from those that are there.
        finalists: Labels, those of the smallest patches, whose search goes on; only their triggers are kept.
        final_steps: Steps of that.
        final_images: Images that each of these steps looks at.
        final_threshold: Share of those that a patch has to send to its label.
        precision: ``"auto"`` for bfloat16 where the processor computes with it and the model's answers stay;
            ``"float32"`` or ``"bfloat16"``. All other options are those of :class:`PatchArms`.

    Reference: Wang et al., Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks, IEEE S&P
    2019, section IV-A. Deviations: those of :class:`PatchArms`; ``neural_cleanse_paper`` follows the paper.
    """

    name: ClassVar[str] = "neural_cleanse"
    quick: ClassVar[str] = "neural_cleanse(steps=20, final_steps=8, labels_at_once=2)"

    images: int = 400
    finalists: int = 3
    final_steps: int = 30
    final_images: int = 32
    final_threshold: float = 0.99
    precision: Wanted = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("images", "finalists", "final_steps", "final_images"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))
        share = self.final_threshold
        require(0 < share <= 1, field="final_threshold", expected="in (0, 1]", got=share)

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
        """Search all labels, go on with the best few, measure these on other images, and compare the norms.

        Args:
            model: The classifier in question.
            clean: Images to search with; they serve every label, those of the label itself included.
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
            images = _drawn(clean, self.images, rng.child("images")).to(model.device)
            some = torch.randperm(len(images), generator=rng.child("tried").torch())[:_TRIED]
            fast = prepare(model, images[some.to(images.device)], precision=self.precision)
            search = UnitSearch(fast.model, images, self, self.finalists, rng.child("search"), fast.made_with)
            searched = search.run(targets, progress=progress, memo=memo)
            triggers, said = self._finish(fast.model, images, searched, rng.child("finish"))
            norms = {label: norm if math.isfinite(norm) else None for label, norm in searched.norms.items()}
            findings = tuple(LabelFinding(t, norms[t], self.steps, "last step") for t in targets)
            seen = len(triggers) * self.final_steps * self.final_images
            found = Found(
                findings, triggers, searched.cost + Cost(forward=seen, backward=seen), (*searched.notes, *said)
            )
            return norm_detection(str(spec_of(self)), model, found, heldout=heldout, rng=rng.child("chance"))

    def _finish(
        self, model: Classifier, images: Images, searched: Searched, rng: Rng
    ) -> tuple[tuple[ReversedTrigger, ...], tuple[str, ...]]:
        """Search on from the smallest patches, in shorter steps; a patch that got no better is as it was.

        Where memory runs out they are left as they are, and a note says so.
        """
        if not searched.smallest:
            return (), ()
        settings = dataclasses.replace(
            self,
            steps=self.final_steps,
            images_per_step=self.final_images,
            warm_up=_FINAL_WARM_UP,
            mask_rate=self.mask_rate * _SHORTER,
            pattern_rate=self.pattern_rate * _SHORTER,
            success_threshold=self.final_threshold,
        )
        made_of = {name: tensor.to(images.device, copy=True) for name, tensor in searched.triggers.items()}
        arms = [Arm(label, 0) for label in searched.smallest]
        patches = Patches(made_of["mask"], made_of["pattern"], settings)
        search = ArmSearch(model, images, arms, settings, rng, at_once=self.final_images, triggers=patches)
        best: Mapping[str, Tensor] = patches.best
        notes: tuple[str, ...] = ()
        try:
            with torch.enable_grad():
                search.run()
        except (MemoryError, RuntimeError) as error:
            if not no_memory(error):
                raise
            best, notes = searched.triggers, ("Memory ran out: the triggers shown were not searched any further.",)
        triggers = zip(searched.smallest, best["mask"].cpu(), best["pattern"].cpu(), strict=True)
        return tuple(ReversedTrigger(label, mask, pattern) for label, mask, pattern in triggers), notes


def _drawn(images: ImageSet, most: int, rng: Rng) -> Images:
    """So many of the images at most, [n, c, h, w]."""
    if len(images) <= most:
        return images.images()
    return images.images(torch.randperm(len(images), generator=rng.torch())[:most].tolist())
