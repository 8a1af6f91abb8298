"""``mantrap cleanse``."""

import sys
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from mantrap.cli.options import Declared, Images, Running
from mantrap.cli.progress import watching
from mantrap.cli.reopening import reopened
from mantrap.records.files import write_atomically


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Mending:
    """What to repair, how, and where to."""

    out: Path
    """File for the repaired weights, NAME.safetensors; its card, the record and a report go beside it."""
    model: Path | None = None
    """The model that was audited; where the audit found it if not given."""
    repair: str = "unlearning"
    """Spec of a repair."""
    rounds: int = 3
    """How often the model is repaired at most, where an audit of the repaired file recovers further triggers."""
    arch: str | None = None
    """Architecture, where the record names none of ours: FILE.py:NAME of a file that you trust."""
    fresh: bool = False
    """Start over where the work of another repair lies."""
    json: bool = False
    """Print the record on stdout, and nothing else."""


_DECLARED, _RUNNING = Declared(), Running()


def cleanse(
    run: Path, /, *, images: Images, mending: Mending, declared: Declared = _DECLARED, running: Running = _RUNNING
) -> int:
    """Repair a model that was audited, and prove the repair.

    A file is called repaired only if nothing that was tried speaks against it.

    Parameters
    ----------
    run: Path
        Folder of the audit, with its record and the triggers that it recovered.
    """
    from mantrap.repair import REPAIRS  # noqa: PLC0415 - torch
    from mantrap.report import render_cleanse_html, render_cleanse_text  # noqa: PLC0415 - start-up
    from mantrap.workflow import cleanse as cleansing  # noqa: PLC0415 - torch
    from mantrap.workflow.cleansing import Cleansing  # noqa: PLC0415 - torch

    running.apply()
    repair = REPAIRS.create(mending.repair)
    told = {name: getattr(mending, name) for name in ("out", "model", "repair", "rounds", "arch")}
    subject, opened = reopened(run, images, declared, running, verb="cleanse", told=told)
    work = Cleansing(**vars(subject), repair=repair, reopened=opened, rounds=mending.rounds)
    record = cleansing.cleanse(work, mending.out, fresh=mending.fresh, progress=watching(quiet=running.quiet))
    page = mending.out.with_suffix(cleansing.PAGE_SUFFIX)
    write_atomically(page, render_cleanse_html(record).encode())
    sys.stdout.write(record.to_json() if mending.json else f"{render_cleanse_text(record)}\nReport: {page}\n")
    return 0 if record.outcome == "REPAIRED" else 1
