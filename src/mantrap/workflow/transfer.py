"""Does what misleads one model mislead others? Tables as Szegedy et al. have them, with noise beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mantrap.core import AWAY, SILENT, Classifier, Cost, ImageSet, Problem, Progress, Rng, spec_of
from mantrap.core.shapes import Images, Labels
from mantrap.errors import ModelError, UsageError
from mantrap.evade import perturb
from mantrap.evade.leading import slope_of
from mantrap.evade.noise import noisy
from mantrap.ops.eight_bits import as_saved, whole_levels
from mantrap.ops.intervals import wilson
from mantrap.ops.projections import distortion, norms
from mantrap.ops.scores import fitting_batch, predictions_under
from mantrap.records import Reproduction
from mantrap.records.transferring import TransferRecord, TransferRowRecord
from mantrap.workflow import assembly
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.naming import by_name
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.saved import answers, saved_of
from mantrap.workflow.stopwatch import Stopwatch
from mantrap.workflow.transferred import Answers, cosines, joined, numbered_alike, told_apart
from mantrap.workflow.transferring import Transferring
from mantrap.workflow.versions import versions
from mantrap.workflow.words import percent

RECORD_FILE, REPORT_FILE = "transfer.json", "report.html"
_TINY = 1e-12
"""Distortions below it are none, and are not stretched."""


def transfer(
    work: Transferring, out: Path | None = None, *, fresh: bool = False, progress: Progress = SILENT
) -> TransferRecord:
    """Make adversarial examples for each model, and show them to all.

    Args:
        work: The models, the images, and who makes examples.
        out: Folder for the record; ``None`` writes nothing.
        fresh: Start over where another such work lies.
        progress: Observer of the work.

    Returns:
        The record.

    Raises:
        DataError: Images whose classes a model does not name.
        FailedError: A model's logits or gradients are not finite.
        OutputError: The folder cannot be written, or holds something else.
        UsageError: No image that all models get right.

    Reference: Szegedy et al., Intriguing properties of neural networks, ICLR 2014, section 4.2, tables 2 to 4.

    Deviations: only images that all models get right are used, so that every mistake is due to the change.
    """
    if out is None:
        return _Round(work, progress).record()
    with RunFolder(out, work.identity()).claimed(fresh=fresh, outputs=(RECORD_FILE, REPORT_FILE)) as folder:
        if (out / RECORD_FILE).exists():
            return TransferRecord.from_json((out / RECORD_FILE).read_text(encoding="utf-8"))
        record = _Round(work, progress).record()
        folder.write(RECORD_FILE, record.to_json())
        return record


@dataclass(frozen=True, eq=False)
class _Part:
    """Some images, changed for one model: their distortions, [n], and what each model makes of them."""

    distortions: Float[Tensor, " n"]
    shown: tuple[Answers, ...]


@dataclass
class _Round:
    """Models that are shown what was made for each of them."""

    work: Transferring
    progress: Progress
    ledger: Ledger = field(default_factory=Ledger)
    watch: Stopwatch = field(default_factory=Stopwatch)

    def __post_init__(self) -> None:
        self.rng = Rng(self.work.seed).child("transfer")
        named = [by_name(model, self.work.images) for _, model in self.work.models]
        self.models, self.images = [model for model, _ in named], named[0][1]
        self.numbers = numbered_alike(self.models, self.work.images)
        self.names = told_apart([source for source, _ in self.work.models])
        with self.watch.stage("clean images"):
            right = [_right(model, images) for model, images in named]
        self.ledger.add("clean images", Cost(forward=len(right) * len(self.images)))
        self.accuracies = tuple(wilson(int(one.sum()), len(one)) for one in right)
        shared = torch.stack(right).all(0).nonzero().flatten().tolist()
        if not shared:
            raise UsageError(
                expected=f"images of {self.images.name} that all models get right",
                got="none",
                remedy="Give images of their task, or leave the worst model out.",
            )
        self.shared = [images.subset(shared) for _, images in named]
        """The same images for each model, numbered as it numbers its classes."""

    def record(self) -> TransferRecord:
        """All of it."""
        work = self.work
        with self.progress.stage("transfer", len(self.models)) as stage:
            rows = []
            for place in range(len(self.models)):
                rows.append(self._row(place))
                stage.advance(note=self.names[place])
        return TransferRecord(
            headline=self._headline(rows),
            evasion=str(spec_of(work.evasion)),
            stretched=work.stretched,
            names=self.names,
            models=tuple(
                assembly.model_record(model, file_name=source.file_name, sha256=source.sha256)
                for model, (source, _) in zip(self.models, work.models, strict=True)
            ),
            accuracies=self.accuracies,
            rows=tuple(rows),
            data_name=self.images.name,
            data_digest=self.images.digest(),
            images=len(self.images),
            right=len(self.shared[0]),
            reproduction=Reproduction(
                command=work.command, seed=work.seed, detectors=(str(spec_of(work.evasion)),), versions=versions()
            ),
            cost=self.ledger.records(),
            volatile=self.watch.volatile(work.models[0][0].path, self.models[0].device),
        )

    def _headline(self, rows: Sequence[TransferRowRecord]) -> str:
        others = [one for row in rows for place, one in enumerate(row.shown) if place != row.made_for]
        wrong, noise = (sum(getattr(one, what).value for one in others) / len(others) for what in ("wrong", "noise"))
        return (
            f"Of what was made for one of {len(rows)} models {percent(wrong)} misleads another one, in the mean; noise "
            f"of the same distortion {percent(noise)}."
        )

    def _row(self, place: int) -> TransferRowRecord:
        """What was made for one model, shown to all."""
        name = self.names[place]
        with self.watch.stage(name):
            size = fitting_batch(self.shared[place])
            starts = range(0, len(self.shared[place]), size)
            parts = [self._batch(place, number, slice(start, start + size)) for number, start in enumerate(starts)]
        shown = tuple(joined([part.shown[k] for part in parts]) for k in range(len(self.models)))
        return TransferRowRecord(
            made_for=place, distortion=float(torch.cat([part.distortions for part in parts]).mean()), shown=shown
        )

    def _batch(self, place: int, number: int, places: slice) -> _Part:
        """The same of some images."""
        model, evasion = self.models[place], self.work.evasion
        among = range(len(self.shared[place]))[places]
        originals = whole_levels(self.shared[place].images(among))
        labels = [_labels(images)[places] for images in self.shared]
        rng = self.rng.child("made for", place=place, batch=number)
        made = perturb(evasion, model, originals, labels[place], rng=rng)
        saved, asked = self._saved(made.images, originals, model, labels[place])
        noise = noisy(originals, norms(saved - originals, "l2"), "l2", rng.child("noise"))
        slopes = [_slopes(one, originals, right) for one, right in zip(self.models, labels, strict=True)]
        own, misled = slopes[place], self._said(place, saved)
        self.ledger.add(self.names[place], made.cost + asked + Cost(forward=len(among)))
        shown = len(among) * len(self.models)
        self.ledger.add("other models", Cost(forward=3 * shown, backward=shown))
        found = []
        for k, slope in enumerate(slopes):
            said, right = self._said(k, saved), self.numbers[k][labels[k]]
            found.append(
                Answers(
                    wrong=said != right,
                    same=(said != right) & (said == misled),
                    noise=self._said(k, noise) != right,
                    cosine=None if slope is None or own is None else cosines(slope, own),
                )
            )
        return _Part(distortion(saved - originals), tuple(found))

    def _saved(self, made: Images, originals: Images, model: Classifier, labels: Labels) -> tuple[Images, Cost]:
        """The pictures that models are shown, and what it cost to make them."""
        if self.work.stretched is None:
            return saved_of(self.work.evasion, made, originals, model=model, labels=labels, goal=AWAY)
        change = made - originals
        change = self.work.stretched / distortion(change).clamp_min(_TINY).view(-1, 1, 1, 1) * change
        return as_saved((originals + change).clamp(0, 1), originals), Cost()

    def _said(self, place: int, images: Images) -> Labels:
        """The class that a model gives each image, numbered alike for all models, [n]."""
        return self.numbers[place][answers(self.models[place], images).argmax(1)]


def _right(model: Classifier, images: ImageSet) -> Bool[Tensor, " n"]:
    """Which images a model gets right, as pictures in a file, [n]."""
    return predictions_under(model, images, whole_levels) == _labels(images)


def _labels(images: ImageSet) -> Labels:
    assert images.labels is not None
    return images.labels


def _slopes(model: Classifier, images: Images, labels: Labels) -> Images | None:
    """The gradient of each image's loss by its pixels, [n, c, h, w]; ``None`` where the answer is cut off from them."""
    with model.frozen():
        try:
            found = slope_of(Problem(model, images.to(model.device), labels.to(model.device)), images.to(model.device))
        except ModelError:
            return None
    return found.cpu()
