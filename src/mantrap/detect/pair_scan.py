"""Backdoors that react to some classes only: how small a patch sends one class to another, for every pair of them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import torch

from mantrap.core import (
    FORGETFUL,
    SILENT,
    Classifier,
    Cost,
    Detection,
    ImageSet,
    Memo,
    Pairs,
    Progress,
    Rng,
    require,
    spec_of,
)
from mantrap.core.shapes import Images
from mantrap.detect.arm_triggers import PatchArms
from mantrap.detect.begin import begin
from mantrap.detect.blind_spots import CHANGING, EACH_TO_ANOTHER, SOME_CLASSES, SPREAD, WARPING
from mantrap.detect.by_norm import targets_of
from mantrap.detect.finite import answers_of
from mantrap.detect.goals import pair
from mantrap.detect.unit_search import Searched, UnitSearch
from mantrap.ops.pairs import FEWEST_CLASSES
from mantrap.ops.prepare import Wanted

_BLIND: Final = (EACH_TO_ANOTHER, SPREAD, WARPING, CHANGING)
_FEWEST_IMAGES = 4
"""Images that the model takes for a class, for it to be searched as a source."""


@dataclass(frozen=True, kw_only=True)
class PairScan(PatchArms):
    """Find, for every ordered pair of classes, the smallest patch that sends images of the one to the other.

    Use it where a backdoor may react to images of some classes only: a patch that sends all images to its target is
    then as large as in a clean model, but one that sends those of a source there is small. Classes that are alike need
    small patches as well, so the audit compares the pairs with those of a retrained copy of the model; without one they
    say nothing. It takes about as many times as long as ``neural_cleanse`` as there are classes.

    Args: those of :class:`PatchArms`, and

        images: Images to search with at most, drawn from those that are there.
        most_classes: Models of more classes are not searched.
        precision: As for ``neural_cleanse``.

    Reference: Wang et al., Neural Cleanse, IEEE S&P 2019, section VII, for the search by pairs of source and target;
    Xiang, Miller and Kesidis, Detection of backdoors in trained classifiers without access to the training set, IEEE
    TNNLS 2022, for comparing all pairs of classes. Deviations: what is ordinary about a pair is learned from a copy of
    the model.
    """

    name: ClassVar[str] = "pair_scan"
    quick: ClassVar[str] = "pair_scan(steps=20, labels_at_once=8)"
    needs_copy: ClassVar[bool] = True
    """What it finds says nothing but beside a retrained copy of the model."""

    labels_at_once: int = 64
    images: int = 400
    most_classes: int = 50
    precision: Wanted = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("images", "most_classes"):
            require(getattr(self, field) >= 1, field=field, expected="of at least 1", got=getattr(self, field))

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
        """Search all pairs of classes.

        Args:
            model: The classifier in question.
            clean: Images to search with; those that the model takes for a class serve as its images.
            heldout: Not used: the patch of a pair that stands out is measured when it is known which does.
            labels: Which targets to scan; all where ``None``.
            rng: Source of randomness.
            progress: Observer of the work.
            memo: Keeps finished pairs, ``labels_at_once`` together.

        Returns:
            ``pairs``; none where there are too few or too many classes, or images of too few of them.

        Raises:
            UsageError: A label that the model does not have.
            FailedError: The model's output is not finite, or memory does not suffice for a single arm.
        """
        del heldout
        targets, rng, classes = targets_of(model, labels), rng.child(self.name), model.num_classes
        if not FEWEST_CLASSES <= classes <= self.most_classes:
            some = f"{FEWEST_CLASSES} to {self.most_classes} classes"
            return self._answer(model, f"Pairs are scanned in models of {some}; this one has {classes}.")
        with model.frozen():
            images, fast = begin(model, clean, images=self.images, precision=self.precision, rng=rng)
            sources = _sources(fast.model, images)
            numbers = [source * classes + target for source in sources for target in targets if source != target]
            if len(sources) < FEWEST_CLASSES:
                return self._answer(
                    model, f"The model takes the images for {len(sources)} of its classes: too few to compare pairs."
                )
            search = UnitSearch(
                fast.model, images, self, len(numbers), rng.child("search"), fast.made_with, goals=pair, what="pair"
            )
            found = search.run(numbers, progress=progress, memo=memo)
        answer = self._answer(model, *self._left_out(classes - len(sources)), *found.notes)
        reached = {number % classes for number in found.norms}
        return dataclasses.replace(
            answer,
            cost=found.cost + Cost(forward=len(images)),
            blind_spots=_BLIND,
            missed=len(set(targets) - reached) or int(len(found.norms) < len(numbers)),
            pairs=self._pairs(found, classes),
        )

    def _pairs(self, found: Searched, classes: int) -> Pairs:
        """What was found, by source and target."""
        patches = {
            divmod(number, classes): self.recovered(
                number % classes, {name: tensor[row] for name, tensor in found.triggers.items()}
            )
            for row, number in enumerate(found.smallest)
        }
        return Pairs({divmod(number, classes): norm for number, norm in found.norms.items()}, patches)

    def _left_out(self, count: int) -> tuple[str, ...]:
        if not count:
            return ()
        some = "A class was no source" if count == 1 else f"{count} classes were no sources"
        return (f"{some}: the model takes fewer than {_FEWEST_IMAGES} images for {'it' if count == 1 else 'each'}.",)

    def _answer(self, model: Classifier, *notes: str) -> Detection:
        """That nothing was searched, and why."""
        return Detection(
            detector=str(spec_of(self)),
            num_classes=model.num_classes,
            notes=notes,
            blind_spots=(SOME_CLASSES, *_BLIND),
        )


def _sources(model: Classifier, images: Images) -> list[int]:
    """Classes that the model takes enough images for."""
    counts = torch.bincount(answers_of(model, images, what="pair"), minlength=model.num_classes)
    return (counts >= _FEWEST_IMAGES).nonzero().flatten().tolist()
