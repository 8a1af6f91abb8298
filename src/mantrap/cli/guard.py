"""``mantrap guard``."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from mantrap.cli.options import Declared, Images, Running
from mantrap.cli.progress import watching
from mantrap.cli.reopening import reopened
from mantrap.cli.showing import show
from mantrap.records import GuardOutcome


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Standing:
    """What to guard, how, and where the guard goes."""

    out: Path
    """File for the guard, NAME.guard.safetensors; the record and a report go beside it."""
    model: Path | None = None
    """The model that was audited; where the audit found it if not given."""
    guard: str = "neighbours"
    """Spec of a guard."""
    fpr: float = 0.05
    """Share of clean images that may be flagged."""
    arch: str | None = None
    """Architecture, where the record names none of ours: FILE.py:NAME of a file that you trust."""
    onnx: Path | None = None
    """File for the model and the guard as one ONNX graph, NAME.onnx."""
    fresh: bool = False
    """Start over where another guard lies."""
    json: bool = False
    """Print the record on stdout, and nothing else."""


_DECLARED, _RUNNING = Declared(), Running()


def guard(
    run: Path, /, *, images: Images, standing: Standing, declared: Declared = _DECLARED, running: Running = _RUNNING
) -> int:
    """Fit a guard to a model that was audited, and measure what it keeps out.

    It is measured on held-out images: clean ones, and with each trigger that the audit recovered.

    Parameters
    ----------
    run: Path
        Folder of the audit, with its record and the triggers that it recovered.
    """
    from mantrap.guard import GUARDS  # noqa: PLC0415 - torch
    from mantrap.workflow import guarding  # noqa: PLC0415 - torch
    from mantrap.workflow.guarded_onnx import check_export, export_guarded  # noqa: PLC0415 - torch
    from mantrap.workflow.kept_guards import load_guard  # noqa: PLC0415 - torch

    running.apply()
    if standing.onnx is not None:
        check_export(standing.onnx)
    kind = GUARDS.create(standing.guard)
    told = {name: getattr(standing, name) for name in ("out", "model", "guard", "fpr", "arch")}
    subject, _ = reopened(run, images, declared, running, verb="guard", told=told)
    work = guarding.Guarding(**vars(subject), guard=kind, fpr=standing.fpr)
    record = guarding.guard(work, standing.out, fresh=standing.fresh, progress=watching(quiet=running.quiet))
    if standing.onnx is not None:
        export_guarded(standing.onnx, load_guard(standing.out, subject.model), subject.images)
    show(record, as_json=standing.json, page=standing.out.with_suffix(guarding.PAGE_SUFFIX))
    return 1 if record.outcome is GuardOutcome.FALLS_SHORT else 0
