"""The model of an audit's run, opened as it was opened then."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mantrap.cli.finished import read_record
from mantrap.cli.opening import open_known
from mantrap.cli.options import Declared, Images, Running, command_line, existing
from mantrap.records import AuditRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from mantrap.core import Classifier
    from mantrap.workflow.subject import Audited


def reopened(
    run: Path, images: Images, declared: Declared, running: Running, *, verb: str, told: dict[str, object]
) -> "tuple[Audited, Callable[[Path], Classifier]]":
    """The model that was audited, its images and triggers, and how another file of such weights is opened.

    Args:
        run: Folder of the audit.
        images: Which images.
        declared: Preprocessing that stands above that of the audit.
        running: How to run.
        verb: Who asks, for the command that the record keeps.
        told: The verb's own options by name, among them ``model`` and ``arch``; ``None`` where not given.

    Raises:
        MissingDataError: The model, the images or the record are not there.
        RecordError: The record or the triggers are broken, or the triggers are those of another model.
        UsageError: The model is another one.
    """
    from mantrap.workflow.kept_triggers import TRIGGERS_FILE, load_triggers  # noqa: PLC0415 - torch
    from mantrap.workflow.plan import Source  # noqa: PLC0415 - torch
    from mantrap.workflow.subject import Audited  # noqa: PLC0415 - torch

    audited = read_record(run / "audit.json", AuditRecord)
    model, arch = told["model"], told["arch"]
    assert isinstance(model, Path | None)
    assert isinstance(arch, str | None)
    given = existing(model or Path(audited.volatile.model_path), "the model that was audited")
    found = images.load(split="test", seed=running.seed)
    opened = partial(open_known, arch=arch, images=found, known=audited.model, declared=declared, running=running)
    source = Source.of(given)
    classifier = opened(given)
    work = Audited(
        model=classifier,
        source=source,
        images=found,
        audited=audited,
        triggers=load_triggers(run / TRIGGERS_FILE, classifier, source.sha256),
        command=command_line(verb, str(run), images, declared, **told, **running.told()),
    )
    return work, opened
