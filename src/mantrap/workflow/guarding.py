"""What does a guard keep out? Fit it to an audited model, write it, and measure it on images that it has not seen."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import SILENT, Cost, FittedGuard, Guard, Progress, ReversedTrigger, Suspicion, spec_of
from mantrap.errors import UsageError
from mantrap.guard import scores_over
from mantrap.ops.conformal import chance_of_as_many
from mantrap.ops.intervals import wilson
from mantrap.ops.recovered import kind_of, put_on
from mantrap.ops.roc import area_under, roc_curve
from mantrap.ops.scores import predictions, predictions_under
from mantrap.records import CurvePoint, GuardCard, GuardedTriggerRecord, GuardOutcome, GuardRecord, Rate
from mantrap.records.files import write_atomically
from mantrap.workflow import assembly
from mantrap.workflow.kept_guards import SUFFIX, guard_bytes
from mantrap.workflow.outputs import finished, known
from mantrap.workflow.pictures import pictures_of
from mantrap.workflow.subject import Audited, Subject
from mantrap.workflow.words import label_name, percent, size_of

RECORD_SUFFIX, PAGE_SUFFIX = ".json", ".html"
"""Of the files that lie beside ``NAME.guard.safetensors``, in the place of its last ending."""
MISSES_AT_MOST = 0.5
"""A guard that misses more of the images with a known trigger falls short."""
TOO_MANY_BELOW = 0.01
"""So seldom a guard that holds its rate flags as many clean images; one that does falls short."""
_KIND = "fitted guard"
_POINTS = 60
"""Points of a curve that are kept, at most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Guarding(Audited):
    """What a fitted guard is made from.

    Args: those of :class:`~mantrap.workflow.subject.Audited`, and:
        guard: What to fit.
        fpr: Share of clean images that may be flagged, in (0, 1).
    """

    guard: Guard
    fpr: float = 0.05

    def origin(self) -> dict[str, str]:
        """What tells this piece of work from another."""
        return {**self.origin_as(_KIND), "guard": str(spec_of(self.guard)), "rate": str(self.fpr)}


def guard(work: Guarding, out: Path, *, fresh: bool = False, progress: Progress = SILENT) -> GuardRecord:
    """Fit a guard, write it, and measure it on held-out images, clean ones and with each trigger that is known.

    ``NAME.guard.safetensors`` is the guard, ``NAME.guard.json`` the record. The same work that is there already is left
    alone.

    Args:
        work: What to fit, and to what.
        out: Where the guard goes, ``NAME.guard.safetensors``.
        fresh: Start over where another work of this kind lies.
        progress: Observer of the work.

    Raises:
        DataError: Labels outside the model's classes.
        OutputError: The place cannot be written, or holds something else.
        UsageError: There is no trigger and the guard needs one, there are too few images, or the name does not end as
            it should.
    """
    if not out.name.endswith(SUFFIX):
        raise UsageError(expected=f"a file name that ends in {SUFFIX}", got=str(out), remedy="Rename the output.")
    before = known(GuardRecord, out.with_suffix(RECORD_SUFFIX), out, lambda record: record.file_sha256)
    origin = None if before is None else before.origin
    if finished(out, origin, work.origin(), there=out.exists(), fresh=fresh) and before is not None:
        return before
    bench = Subject(work, progress)
    with bench.watch.stage("fit"):
        fitted = work.guard.fit(
            bench.model,
            bench.learned,
            triggers=bench.triggers,
            fpr=work.fpr,
            rng=bench.rng.child("guard"),
            progress=progress,
        )
    bench.ledger.add("fit", fitted.cost)
    made, card = guard_bytes(fitted)
    record = _record(bench, work, fitted, out=out, card=card, sha256=hashlib.sha256(made).hexdigest())
    # The guard comes last: a record without it is no finished work, and a guard without one belongs to nobody.
    write_atomically(out.with_suffix(RECORD_SUFFIX), record.to_json().encode())
    write_atomically(out, made)
    return record


def _record(
    bench: Subject, work: Guarding, fitted: FittedGuard, *, out: Path, card: GuardCard, sha256: str
) -> GuardRecord:
    """All that is measured."""
    with bench.watch.stage("measure"):
        clean = scores_over(fitted, bench.heldout)
        tried = tuple(_tried(bench, fitted, trigger, clean) for trigger in bench.triggers)
        answers = predictions(bench.model, bench.heldout)
    scored = (1 + len(tried)) * len(bench.heldout)
    bench.ledger.add("measure", Cost(forward=work.guard.passes * scored + (1 + len(tried)) * len(bench.heldout)))
    flagged = clean > fitted.threshold
    targeted = torch.isin(answers, torch.tensor([trigger.target for trigger in bench.triggers]))
    false = wilson(int(flagged.sum()), len(flagged))
    return GuardRecord(
        outcome=outcome(false, tried, card),
        headline=headline(false, tried),
        notes=(*bench.notes, *fitted.notes),
        card=card,
        file=out.name,
        file_sha256=sha256,
        false_positives=false,
        flagged_of_targets=_share(flagged, targeted),
        triggers=tried,
        passes=work.guard.passes,
        model=assembly.model_record(bench.model, file_name=work.source.file_name, sha256=work.source.sha256),
        data=assembly.data_record(bench.images, bench.learned, bench.heldout),
        origin=work.origin(),
        reproduction=bench.reproduction(work),
        cost=bench.ledger.records(),
        volatile=bench.volatile(work),
    )


def _tried(bench: Subject, fitted: FittedGuard, trigger: ReversedTrigger, clean: Suspicion) -> GuardedTriggerRecord:
    """What the guard does with the held-out images of other classes that a trigger sends to its label."""
    apply, target = partial(put_on, trigger=trigger), trigger.target
    outcomes = predictions_under(bench.model, bench.heldout, apply)
    others = bench.sources != target
    reached = others & (outcomes == target)
    scores = scores_over(fitted, bench.heldout, apply)[reached]
    return GuardedTriggerRecord(
        label=target,
        class_name=bench.model.class_names[target],
        kind=kind_of(trigger),
        size=size_of(trigger),
        picture=pictures_of(trigger, f"label {target}")["trigger"],
        works=wilson(int(reached.sum()), int(others.sum())),
        missed=wilson(int((scores <= fitted.threshold).sum()), len(scores)),
        area=area_under(scores, clean),
        curve=curve_of(scores, clean),
    )


def curve_of(triggered: Float[Tensor, " m"], clean: Suspicion) -> tuple[CurvePoint, ...]:
    """What every threshold would do, the highest first; of very many, some at equal steps of what they flag.

    Args:
        triggered: Scores of images with a trigger.
        clean: Scores of clean ones.
    """
    curve = roc_curve(triggered, clean)
    count = len(curve.thresholds)
    kept = range(count) if count <= _POINTS else [round(i * (count - 1) / (_POINTS - 1)) for i in range(_POINTS)]

    def point(index: int) -> CurvePoint:
        above = float(curve.thresholds[index])
        return CurvePoint(
            threshold=above if math.isfinite(above) else None,
            false_positives=wilson(round(float(curve.false_positive[index]) * len(clean)), len(clean)),
            false_negatives=wilson(round(float(1 - curve.true_positive[index]) * len(triggered)), len(triggered)),
        )

    return tuple(map(point, kept))


def _share(flagged: Tensor, among: Tensor) -> Rate | None:
    """How many of some images are flagged; ``None`` where there are none."""
    return wilson(int((flagged & among).sum()), int(among.sum())) if bool(among.any()) else None


def outcome(false: Rate, tried: Sequence[GuardedTriggerRecord], card: GuardCard) -> GuardOutcome:
    """What it came to.

    Args:
        false: Share of clean images that is flagged.
        tried: What was tried.
        card: Which share may be, and how many images say so.
    """
    chance = chance_of_as_many(false.hits, false.total, calibrated_on=card.calibrated_on, rate=card.fpr)
    if chance < TOO_MANY_BELOW or any(one.missed.value > MISSES_AT_MOST for one in tried):
        return GuardOutcome.FALLS_SHORT
    return GuardOutcome.GUARDS if tried else GuardOutcome.UNTRIED


def headline(false: Rate, tried: Sequence[GuardedTriggerRecord]) -> str:
    """The same in a sentence."""
    said = f"It flags {percent(false.value)} of clean images"
    if not tried:
        return f"{said}. No trigger is known, so what it keeps out cannot be told."
    worst = max(tried, key=lambda one: one.missed.value)
    name = label_name(worst.label, worst.class_name)
    return f"{said}, and lets through {percent(worst.missed.value)} of those with the {worst.kind} for {name}."
