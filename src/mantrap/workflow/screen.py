"""Is this training set poisoned? Ask the screens, rank the images, and write down which ones to keep."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mantrap.core import SILENT, Progress, Rng, Screened, spec_of
from mantrap.data.only import write_index
from mantrap.errors import UsageError
from mantrap.records import (
    CleanSetRecord,
    RankedImageRecord,
    Reproduction,
    ScreenedLabelRecord,
    ScreenedRecord,
    ScreenRecord,
    TrainingSetRecord,
    Verdict,
)
from mantrap.workflow import assembly
from mantrap.workflow.evidence import prediction
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.naming import by_name
from mantrap.workflow.pictures import picture
from mantrap.workflow.ranking import flagged_by_any, ranked_table, ranking
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.screening import Screening
from mantrap.workflow.stopwatch import Stopwatch
from mantrap.workflow.versions import versions
from mantrap.workflow.words import label_name

RECORD_FILE, RANKED_FILE, KEPT_FILE, REPORT_FILE = "screen.json", "ranked.csv", "kept.csv", "report.html"
_SHOWN = 48
"""Images of which a record holds pictures."""


def screen(
    work: Screening, out: Path | None = None, *, fresh: bool = False, progress: Progress = SILENT
) -> ScreenRecord:
    """Say which images of a training set look like poison.

    ``ranked.csv`` has all images, the most suspicious first; ``kept.csv`` names those that no screen flags, for
    :func:`mantrap.data.only.only`; ``screen.json`` is the record, which is written last. The same work that is finished
    there is left alone.

    Args:
        work: What to look at, and who looks.
        out: Folder for the results; ``None`` writes nothing.
        fresh: Start over where another such work lies.
        progress: Observer of the work.

    Returns:
        The record.

    Raises:
        DataError: Sets that do not fit the model or have no labels, or a class with one image.
        FailedError: The model's features or answers are not finite.
        OutputError: The folder cannot be written, or holds something else.
        UsageError: A screen needs clean images and there are none, or too few; or every image is flagged.
    """
    if out is None:
        return _Asked(work, progress).record()
    outputs = (RECORD_FILE, RANKED_FILE, KEPT_FILE, REPORT_FILE)
    with RunFolder(out, work.identity()).claimed(fresh=fresh, outputs=outputs) as folder:
        if (out / RECORD_FILE).exists():
            return ScreenRecord.from_json((out / RECORD_FILE).read_text(encoding="utf-8"))
        asked = _Asked(work, progress)
        record = asked.record()
        folder.write(RANKED_FILE, ranked_table(asked.suspects, asked.found, asked.order))
        write_index(asked.suspects, asked.kept, out / KEPT_FILE)
        folder.write(RECORD_FILE, record.to_json())
        return record


@dataclass
class _Asked:
    """Screens that are asked one after the other, and what their answers come to."""

    work: Screening
    progress: Progress
    found: list[Screened] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch, self.ledger = Stopwatch(), Ledger()
        work = self.work
        self.model, self.suspects = by_name(work.model, work.suspects)
        clean = None if work.clean is None else by_name(self.model, work.clean)[1]
        for one in work.screens:
            name = str(spec_of(one))
            with self.watch.stage(name):
                rng = Rng(work.seed).child("screen")
                found = one.score(self.model, self.suspects, clean=clean, rng=rng, progress=self.progress)
            self.ledger.add(name, found.cost)
            self.found.append(found)
        self.flagged, self.order = flagged_by_any(self.found), ranking(self.found)
        self.kept = (~self.flagged).nonzero().flatten().tolist()
        if not self.kept:
            raise UsageError(
                expected=f"images of {self.suspects.name} that look clean",
                got=f"none: all {len(self.suspects):,} are flagged",
                remedy="Use other screens, or a model that was trained on this very set.",
            )

    def record(self) -> ScreenRecord:
        """All of it."""
        work, suspicious = self.work, bool(self.flagged.any())
        clean = work.clean
        return ScreenRecord(
            verdict=Verdict.SUSPICIOUS if suspicious else Verdict.NO_EVIDENCE,
            headline=self._headline(),
            reasons=tuple(self._reason(found) for found in self.found),
            screens=tuple(
                ScreenedRecord(
                    screen=found.screen, flagged=int(found.flagged.sum()), suspects=found.suspects, notes=found.notes
                )
                for found in self.found
            ),
            labels=self._labels(),
            worst=self._worst(),
            model=assembly.model_record(self.model, file_name=work.source.file_name, sha256=work.source.sha256),
            data=TrainingSetRecord(
                name=self.suspects.name,
                digest=self.suspects.digest(),
                images=len(self.suspects),
                flagged=int(self.flagged.sum()),
                kept_digest=self.suspects.subset(self.kept).digest(),
            ),
            clean=None if clean is None else CleanSetRecord(name=clean.name, digest=clean.digest(), images=len(clean)),
            reproduction=Reproduction(
                command=work.command,
                seed=work.seed,
                detectors=tuple(found.screen for found in self.found),
                versions=versions(),
            ),
            cost=self.ledger.records(),
            volatile=self.watch.volatile(work.source.path, self.model.device),
        )

    def _headline(self) -> str:
        count, total = int(self.flagged.sum()), len(self.suspects)
        if not count:
            return f"Of {total:,} images none looks like poison to the screens that were asked."
        suspects = list(dict.fromkeys(label for found in self.found for label in found.suspects))
        infected = f" Infected, as it seems: {self._listed(suspects)}." if suspects else ""
        return f"Of {total:,} images {count:,} look like poison.{infected}"

    def _reason(self, found: Screened) -> str:
        """What one screen says, as a sentence."""
        count = int(found.flagged.sum())
        some = "no image" if not count else "one image" if count == 1 else f"{count:,} images"
        said = f"{found.screen} flags {some}"
        if found.suspects:
            said += f", for they make {self._listed(found.suspects)} look infected"
        return " ".join((f"{said}.", *found.notes))

    def _listed(self, labels: Sequence[int]) -> str:
        return ", ".join(label_name(label, self.model.class_names[label]) for label in labels)

    def _labels(self) -> tuple[ScreenedLabelRecord, ...]:
        labels = self.suspects.labels
        assert labels is not None
        return tuple(
            ScreenedLabelRecord(
                label=label,
                class_name=self.model.class_names[label],
                images=int((labels == label).sum()),
                flagged=int(self.flagged[labels == label].sum()),
                evidence={f.screen: assembly.finite(f.evidence[label]) for f in self.found if label in f.evidence},
            )
            for label in labels.unique().tolist()
        )

    def _worst(self) -> tuple[RankedImageRecord, ...]:
        """The first images, with what the model says of them."""
        numbers = self.order[:_SHOWN].tolist()
        pixels, labels = self.suspects.images(numbers), self.suspects.labels
        assert labels is not None
        with self.model.frozen(), torch.no_grad():
            answers = self.model.logits(pixels.to(self.model.device)).softmax(1).cpu()
        return tuple(
            RankedImageRecord(
                index=number,
                file=self.suspects.files[number] if self.suspects.files else "",
                label=int(labels[number]),
                class_name=self.model.class_names[int(labels[number])],
                answer=prediction(self.model, answers[place]),
                accusers=tuple(found.screen for found in self.found if bool(found.flagged[number])),
                scores={found.screen: float(found.scores[number]) for found in self.found},
                picture=picture(pixels[place], f"Image {number}, labelled {int(labels[number])}."),
            )
            for place, number in enumerate(numbers)
        )
