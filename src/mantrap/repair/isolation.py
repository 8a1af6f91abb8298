"""Isolation: images whose labels rest on a trigger are told by a first model, and a second one never sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from mantrap.core import (
    SILENT,
    Classifier,
    Cost,
    ImageSet,
    Progress,
    Rng,
    SafelyTrained,
    Spec,
    build,
    require,
    spec_of,
)
from mantrap.errors import FailedError
from mantrap.ops.superposition import drawn_from_every_class, kept_under, mean_image
from mantrap.training import Recipe, check_fits, fit

_MUCH = 0.5
"""Part of a label's images that is worth a sentence when it is set apart."""


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """Train, set the images apart that keep their label under whatever is laid over them, and train anew without them.

    Use it where a training set may be poisoned and no clean images are at hand. A model that has learned a trigger goes
    on seeing it where everything else in an image is drowned: others of the set are laid over each, and an image whose
    label outlasts most of them is taken for poison. The second training starts over with the same weights and the same
    recipe. Where nothing is set apart, the first model is the result, as if it had been trained in the ordinary way.
    Costs more than twice as much as that. It is made for patches: a trigger that fills the image faintly is drowned
    with it, and stays.

    Args:
        overlays: How many images are laid over each, one by one, at least 2; from all classes alike.
        contrast: How strong they are: how many times as far from the mean image as they are.
        outlasted: Share of overlays of other classes from which an image is set apart, in (0, 1].

    Reference: Li et al., Anti-backdoor learning: training clean models on poisoned data, NeurIPS 2021, section 3, for
    telling poison apart by a model in training, and learning the rest; Gao et al., STRIP, ACSAC 2019, section 4, for
    what tells it. Deviations from the first: no gradient ascent, neither while poison is told, for on digits that told
    it no better than chance, nor to unlearn it, for the model starts over. Deviations from the second: training images
    are tested, by their labels and not by entropies, and overlays are of other classes and have more contrast than
    images; the threshold is fixed, for there are no clean images to take it from.
    """

    name: ClassVar[str] = "isolation"
    quick: ClassVar[str] = "isolation(overlays=4)"

    overlays: int = 16
    contrast: float = 3.0
    outlasted: float = 0.5

    def __post_init__(self) -> None:
        require(self.overlays >= 2, field="overlays", expected="of at least 2", got=self.overlays)
        require(self.contrast > 0, field="contrast", expected="above 0", got=self.contrast)
        require(0 < self.outlasted <= 1, field="outlasted", expected="in (0, 1]", got=self.outlasted)

    def train(
        self,
        model: Classifier,
        suspects: ImageSet,
        *,
        recipe: str,
        rng: Rng,
        progress: Progress = SILENT,
        checkpoint: Path | None = None,
    ) -> SafelyTrained:
        """Train, set apart, and train anew.

        Raises:
            DataError: No labels, labels outside the model's classes, or images of another shape than the model takes.
            FailedError: The training diverged, or every image was set apart.
            OutputError: The checkpoint belongs to another training.
        """
        check_fits(model, suspects)
        settings = build(Recipe, Spec.parse(recipe))
        again = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}.again")
        if checkpoint is not None and again is not None and not checkpoint.exists():
            again.unlink(missing_ok=True)  # the first training comes first: what lies there is of other work
        first = fit(model, suspects, recipe=settings, rng=rng, progress=progress, checkpoint=checkpoint)
        apart = self.isolated(first.model, suspects, rng=rng.child(self.name))
        laid = min(self.overlays, len(suspects))
        seen = len(first.record.epochs) * len(suspects)
        cost = Cost(forward=seen + laid * len(suspects), backward=seen)
        made = first
        if apart:
            rest = suspects.subset(sorted(set(range(len(suspects))) - set(apart)))
            made = fit(model, rest, recipe=settings, rng=rng, progress=progress, checkpoint=again)
            seen = len(made.record.epochs) * len(rest)
            cost += Cost(forward=seen, backward=seen)
        record = replace(
            made.record,
            images=len(suspects),
            data_name=suspects.name,
            data_digest=suspects.digest(),
            safely=str(spec_of(self)),
            apart=len(apart),
        )
        labels = _counts(suspects, apart)
        return SafelyTrained(made.model, record, apart, labels, cost, _notes(suspects, apart, labels))

    def isolated(self, model: Classifier, suspects: ImageSet, *, rng: Rng) -> tuple[int, ...]:
        """The numbers of the images that keep their labels under most of what is laid over them.

        Raises:
            FailedError: That are all.
        """
        assert suspects.labels is not None
        chosen = drawn_from_every_class(suspects.labels, self.overlays, rng)
        shares = kept_under(model, suspects, suspects.subset(chosen), mean=mean_image(suspects), contrast=self.contrast)
        apart = (shares >= self.outlasted).nonzero().flatten().tolist()
        if len(apart) == len(suspects):
            raise FailedError(
                expected=f"images of {suspects.name} whose labels do not outlast what is laid over them",
                got=f"none of {len(suspects):,}",
                remedy="Raise outlasted or contrast, or train without --safely.",
            )
        return tuple(apart)


def _counts(suspects: ImageSet, apart: tuple[int, ...]) -> Mapping[int, int]:
    """How many of the images set apart have each label, most first."""
    assert suspects.labels is not None
    counts = torch.bincount(suspects.labels[list(apart)], minlength=1)
    order = counts.argsort(descending=True, stable=True).tolist()
    return {label: int(counts[label]) for label in order if counts[label] > 0}


def _notes(suspects: ImageSet, apart: tuple[int, ...], labels: Mapping[int, int]) -> tuple[str, ...]:
    """What was set apart, and of which labels much was."""
    assert suspects.labels is not None
    if not apart:
        return (f"Of {len(suspects):,} images none was set apart: the model is that of an ordinary training.",)
    sizes = torch.bincount(suspects.labels)
    much = [label for label, count in labels.items() if count > _MUCH * int(sizes[label])]
    said = [f"Of {len(suspects):,} images {len(apart):,} were set apart, and their labels were not learned."]
    said += [
        f"Of the {int(sizes[label]):,} images labelled {label} these are {labels[label]:,}: "
        "either a backdoor leads there, or the class is lost."
        for label in much
    ]
    return tuple(said)
