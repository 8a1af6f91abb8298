"""How fragile is this model? Mislead it, and measure what it still gets right on pictures as a file holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mantrap.core import FORGETFUL, SILENT, Classifier, Cost, Evasion, Memo, Progress, Rng, spec_of
from mantrap.errors import ModelError, UsageError
from mantrap.evade.defended import defended
from mantrap.ops.eight_bits import whole_levels
from mantrap.ops.intervals import wilson
from mantrap.ops.scores import predictions_under
from mantrap.records import Reproduction
from mantrap.records.evading import AREA, EvadedImagesRecord, EvadeRecord, StandingAccuracyRecord
from mantrap.workflow import assembly
from mantrap.workflow.around import linearity, sweeps
from mantrap.workflow.cautions import cautions
from mantrap.workflow.evaded import Evaded, evasion_record, standing
from mantrap.workflow.evading import Evading
from mantrap.workflow.led_astray import Astray, Tried, Victims, drawn_targets, lead_astray
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.naming import by_name
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.stopwatch import Stopwatch
from mantrap.workflow.versions import versions
from mantrap.workflow.words import percent

RECORD_FILE, REPORT_FILE = "evade.json", "report.html"
_STEPS = (1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255, 64 / 255)
"""Sizes at which a model's linearity is looked at."""
_SWEPT = 0.5
"""How far to either side logits are shown."""


def evade(work: Evading, out: Path | None = None, *, fresh: bool = False, progress: Progress = SILENT) -> EvadeRecord:
    """Say how often a model is still right when its images are changed on purpose.

    Args:
        work: The model, the images, and who misleads it.
        out: Folder for the results, where finished pieces are kept meanwhile; ``None`` writes nothing.
        fresh: Start over where another such work lies.
        progress: Observer of the work.

    Returns:
        The record.

    Raises:
        FailedError: The model's logits or gradients are not finite.
        ModelError: An evasion needs gradients and the model's answer is cut off from the pixels.
        OutputError: The folder cannot be written, or holds something else.
        UsageError: The model gets no image right, or an evasion cannot do with its number of classes.
    """
    if out is None:
        return _Led(work, progress, FORGETFUL).record()
    with RunFolder(out, work.identity()).claimed(fresh=fresh, outputs=(RECORD_FILE, REPORT_FILE)) as folder:
        if (out / RECORD_FILE).exists():
            return EvadeRecord.from_json((out / RECORD_FILE).read_text(encoding="utf-8"))
        record = _Led(work, progress, folder.memo("evade")).record()
        folder.write(RECORD_FILE, record.to_json())
        return record


@dataclass
class _Led:
    """A model that is misled by one evasion after the other, and what that comes to."""

    work: Evading
    progress: Progress
    memo: Memo
    ledger: Ledger = field(default_factory=Ledger)
    watch: Stopwatch = field(default_factory=Stopwatch)

    def __post_init__(self) -> None:
        work = self.work
        self.bare, self.images = by_name(work.model, work.images)
        self.rng = Rng(work.seed).child("evade")
        self.model, self.judge = self._behind()
        labels = self.images.labels
        assert labels is not None
        with self.watch.stage("clean images"):
            right = predictions_under(self.judge, self.images, whole_levels) == labels
        self.ledger.add("clean images", Cost(forward=len(self.images)))
        self.accuracy = wilson(int(right.sum()), len(right))
        if not self.accuracy.hits:
            raise UsageError(
                expected=f"a model that gets an image of {self.images.name} right",
                got="none",
                remedy="Give images of its task, or correct labels or the declared preprocessing.",
            )
        numbers = right.nonzero().flatten().tolist()
        self.among = Victims(
            self.model,
            self.judge,
            None if work.transformation is None else self.bare,
            self.images.subset(numbers),
            tuple(numbers),
            drawn_targets(labels[right], self.model.num_classes, work.aim, self.rng.child("targets")),
        )
        self.evaded = [self._asked(one) for one in work.evasions]

    def _behind(self) -> tuple[Classifier, Classifier]:
        """The model as evasions see it, and as it answers."""
        transformation = self.work.transformation
        if transformation is None:
            return self.bare, self.bare
        seen = defended(self.bare, transformation, rng=self.rng.child("seen"))
        return seen, defended(self.bare, transformation, rng=self.rng.child("answers"), draws=1)

    def _asked(self, evasion: Evasion) -> Evaded:
        """What an evasion comes to, with each of its budgets if it has one."""
        tried = [Tried(one, eps, self._led_by(one)) for eps, one in self.work.tried(evasion)]
        return Evaded(evasion, tuple(tried), tried[-1].astray if tried else self._led_by(evasion))

    def _led_by(self, evasion: Evasion) -> Astray:
        with self.watch.stage(evasion.name):
            rng = self.rng.child("evasion", spec=str(spec_of(evasion)))
            found = lead_astray(evasion, self.among, rng=rng, progress=self.progress, memo=self.memo)
        self.ledger.add(evasion.name, found.spent)
        return found

    def record(self) -> EvadeRecord:
        """All of it."""
        work, source = self.work, self.work.source
        still, total = standing(self.evaded, len(self.images)), len(self.images)
        with self.watch.stage("checks"):
            warned = cautions(self.among, self.evaded, self.rng.child("cautions"))
            try:
                linear, swept = linearity(self.among, _STEPS), sweeps(self.among, _SWEPT)
            except ModelError:
                linear, swept = None, ()
        return EvadeRecord(
            headline=self._headline(still),
            accuracy=self.accuracy,
            aim=work.aim,
            transformation=None if work.transformation is None else str(spec_of(work.transformation)),
            evasions=tuple(evasion_record(one, self.among, total) for one in self.evaded),
            standing=still,
            cautions=warned,
            linear=linear,
            sweeps=swept,
            model=assembly.model_record(self.bare, file_name=source.file_name, sha256=source.sha256),
            data=EvadedImagesRecord(
                name=self.images.name,
                digest=self.images.digest(),
                images=len(self.images),
                right=len(self.among.images),
            ),
            reproduction=Reproduction(
                command=work.command,
                seed=work.seed,
                detectors=tuple(str(spec_of(one)) for one in work.evasions),
                versions=versions(),
            ),
            cost=self.ledger.records(),
            volatile=self.watch.volatile(source.path, self.model.device),
        )

    def _headline(self, still: Sequence[StandingAccuracyRecord]) -> str:
        images = "image" if self.accuracy.total == 1 else "images"
        clean = f"Of {self.accuracy.total:,} {images} the model gets {self.accuracy.hits:,} right"
        if not still:
            return f"{clean}."
        worst = min(still, key=lambda one: one.accuracy.value)
        changed = (
            f"{percent(worst.eps)} of each may be painted over"
            if worst.norm == AREA
            else f"images may be changed by {worst.eps:.4g} ({worst.norm})"
        )
        return f"{clean}; of those {worst.accuracy.hits:,} are left when {changed}."
