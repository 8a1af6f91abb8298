"""Does what misleads one model mislead others? Tables as Szegedy et al. have them, with noise beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mantrap.core import SILENT, Classifier, Cost, ImageSet, Problem, Progress, Rng, spec_of
from mantrap.core.shapes import Images, Labels
from mantrap.errors import ModelError, UsageError
from mantrap.evade import perturb
from mantrap.evade.leading import slope_of
from mantrap.evade.noise import noisy
from mantrap.ops.eight_bits import as_saved, whole_levels
from mantrap.ops.intervals import wilson
from mantrap.ops.projections import distortion, norms, steepest
from mantrap.ops.scores import finite_logits, fitting_batch, predictions_under
from mantrap.records import Reproduction
from mantrap.records.transferring import TransferRecord, TransferredRecord, TransferRowRecord
from mantrap.workflow import assembly
from mantrap.workflow.evading import is_budgeted, norm_of
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.naming import by_name
from mantrap.workflow.plan import Source
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.stopwatch import Stopwatch
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
class _Answers:
    """What a model makes of examples, image by image, [n] each; ``cosine`` of the images that have gradients alone."""

    wrong: Bool[Tensor, " n"]
    same: Bool[Tensor, " n"]
    noise: Bool[Tensor, " n"]
    cosine: Float[Tensor, " m"] | None


@dataclass(frozen=True, eq=False)
class _Part:
    """Some images, changed for one model: their distortions, [n], and what each model makes of them."""

    distortions: Float[Tensor, " n"]
    shown: tuple[_Answers, ...]


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
        self.names = _told_apart([source for source, _ in self.work.models])
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
        self.shared = self.images.subset(shared)

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
            right=len(self.shared),
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
            parts = [self._batch(place, number, batch) for number, batch in enumerate(self._batches())]
        shown = tuple(_joined([part.shown[k] for part in parts]) for k in range(len(self.models)))
        return TransferRowRecord(
            made_for=place, distortion=float(torch.cat([part.distortions for part in parts]).mean()), shown=shown
        )

    def _batches(self) -> Iterator[tuple[Images, Labels]]:
        for batch in self.shared.batches(fitting_batch(self.shared)):
            assert batch.labels is not None
            yield whole_levels(batch.images), batch.labels

    def _batch(self, place: int, number: int, batch: tuple[Images, Labels]) -> _Part:
        """The same of some images."""
        (originals, labels), model, evasion = batch, self.models[place], self.work.evasion
        rng = self.rng.child("made for", place=place, batch=number)
        made = perturb(evasion, model, originals, labels, rng=rng)
        change, kept = made.images - originals, evasion.eps if is_budgeted(evasion) else None
        if self.work.stretched is not None:
            change, kept = self.work.stretched / distortion(change).clamp_min(_TINY).view(-1, 1, 1, 1) * change, None
        saved = as_saved((originals + change).clamp(0, 1), originals, eps=kept, norm=norm_of(evasion))
        noise = noisy(originals, norms(change, "l2"), "l2", rng.child("noise"))
        misled = _said(model, saved)
        slopes = [_slopes(one, originals, labels) for one in self.models]
        self.ledger.add(self.names[place], made.cost + Cost(forward=len(labels)))
        asked = len(labels) * len(self.models)
        self.ledger.add("other models", Cost(forward=3 * asked, backward=asked))
        shown = []
        for one, slope in zip(self.models, slopes, strict=True):
            said, own = _said(one, saved), slopes[place]
            shown.append(
                _Answers(
                    wrong=said != labels,
                    same=(said != labels) & (said == misled),
                    noise=_said(one, noise) != labels,
                    cosine=None if slope is None or own is None else _cosines(slope, own),
                )
            )
        return _Part(distortion(change), tuple(shown))


def _right(model: Classifier, images: ImageSet) -> Bool[Tensor, " n"]:
    """Which images a model gets right, as pictures in a file, [n]."""
    assert images.labels is not None
    return predictions_under(model, images, whole_levels) == images.labels


def _said(model: Classifier, images: Images) -> Labels:
    """The class that a model gives each image, [n]."""
    with model.frozen(), torch.no_grad():
        return finite_logits(model, images.to(model.device)).argmax(1).cpu()


def _slopes(model: Classifier, images: Images, labels: Labels) -> Images | None:
    """The gradient of each image's loss by its pixels, [n, c, h, w]; ``None`` where the answer is cut off from them."""
    with model.frozen():
        try:
            found = slope_of(Problem(model, images.to(model.device), labels.to(model.device)), images.to(model.device))
        except ModelError:
            return None
    return found.cpu()


def _cosines(one: Images, other: Images) -> Float[Tensor, " m"]:
    """The cosine of both gradients, of the images of which neither is 0; however small they are."""
    units = (steepest(one, "l2") * steepest(other, "l2")).flatten(1).sum(1)
    return units[one.flatten(1).any(1) & other.flatten(1).any(1)]


def _joined(parts: Sequence[_Answers]) -> TransferredRecord:
    """All batches as one."""
    wrong, same, noise = (torch.cat([getattr(part, what) for part in parts]) for what in ("wrong", "same", "noise"))
    cosines = [part.cosine for part in parts if part.cosine is not None]
    return TransferredRecord(
        wrong=wilson(int(wrong.sum()), len(wrong)),
        same=wilson(int(same.sum()), int(wrong.sum())) if bool(wrong.any()) else None,
        noise=wilson(int(noise.sum()), len(noise)),
        cosine=float(torch.cat(cosines).mean()) if sum(map(len, cosines)) else None,
    )


def _told_apart(sources: Sequence[Source]) -> tuple[str, ...]:
    """Names of files, with the folder where two are called the same, and numbered where even that is the same."""
    names = [source.file_name for source in sources]
    if len(set(names)) < len(names):
        names = ["/".join(Path(source.path).parts[-2:]) or source.file_name for source in sources]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return tuple(names)
