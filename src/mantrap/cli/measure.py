"""``mantrap measure``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from mantrap.cli.finished import read_record
from mantrap.cli.opening import clean_beside, open_said
from mantrap.cli.options import Declared, Images, Running, existing
from mantrap.cli.showing import show
from mantrap.records import AuditRecord
from mantrap.records.files import sha256_of

if TYPE_CHECKING:
    from mantrap.core import ReversedTrigger


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Against:
    """What the model is held against."""

    truth: Path
    """The poisoned set that it was trained on, or the truth beside that: NAME.truth.json."""
    clean: Path | None = None
    """A model of the same recipe without the backdoor, to compare with."""
    arch: str | None = None
    """Architecture where the file has no card: a spec of ours, or FILE.py:NAME of a file that you trust."""
    run: Path | None = None
    """Folder of an audit of this model: the triggers that it recovered are held beside those that were planted."""
    page: Path | None = None
    """HTML file to write all of it to, with pictures and curves."""
    json: bool = False
    """Print the record on stdout, and nothing else."""


_DECLARED, _RUNNING = Declared(), Running()


def measure(
    model: Path, /, *, images: Images, against: Against, declared: Declared = _DECLARED, running: Running = _RUNNING
) -> int:
    """Say how well the backdoors of a poisoned set work in a model that was trained on it, by whomever.

    Parameters
    ----------
    model: Path
        File of weights: safetensors, or a state dict of torch.save.
    """
    from mantrap.workflow.kept_triggers import TRIGGERS_FILE, load_triggers  # noqa: PLC0415 - torch
    from mantrap.workflow.measure import measure as run  # noqa: PLC0415 - torch

    running.apply()
    test = images.load(split="test", seed=running.seed)
    opened = open_said(model, against.arch, test.shape, declared, running)
    clean = None if against.clean is None else clean_beside(against.clean, against.arch, test, declared, running)
    recovered: tuple["ReversedTrigger", ...] = ()
    audited = None
    if against.run is not None:
        kept = existing(against.run / TRIGGERS_FILE, "the triggers that an audit recovered")
        recovered = load_triggers(kept, opened, sha256_of(model))
        audited = read_record(against.run / "audit.json", AuditRecord)
    record = run(opened, model, truth=against.truth, test=test, clean=clean, recovered=recovered, audited=audited)
    nothing = "The audit recovered no trigger.\n" if against.run is not None and not recovered else ""
    show(record, as_json=against.json, page=against.page, more=nothing)
    return 0
