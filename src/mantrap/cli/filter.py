"""``mantrap filter``."""

from pathlib import Path

from mantrap.cli.opening import open_known
from mantrap.cli.options import Declared, Images, Running, existing
from mantrap.cli.progress import watching
from mantrap.cli.showing import show

_DECLARED, _RUNNING = Declared(), Running()


def filter_images(
    guard: Path,
    /,
    *,
    model: Path,
    images: Images,
    arch: str | None = None,
    json: bool = False,
    declared: Declared = _DECLARED,
    running: Running = _RUNNING,
) -> int:
    """Say which of some images a guard flags.

    Parameters
    ----------
    guard: Path
        File of the guard, NAME.guard.safetensors.
    model: Path
        The model that it was fitted for.
    arch: str
        Architecture, where the guard names none of ours: FILE.py:NAME of a file that you trust.
    json: bool
        Print the record on stdout, and nothing else.
    """
    from mantrap.workflow.filtering import filtered  # noqa: PLC0415 - torch
    from mantrap.workflow.kept_guards import read_guard_card  # noqa: PLC0415 - torch
    from mantrap.workflow.plan import Source  # noqa: PLC0415 - torch

    running.apply()
    card = read_guard_card(existing(guard, "the file of a guard"))
    found = images.load(split="test", seed=running.seed)
    there = existing(model, "the model that it was fitted for")
    classifier = open_known(there, arch, found, known=card, declared=declared, running=running)
    record = filtered(guard, classifier, found, source=Source.of(model), progress=watching(quiet=running.quiet))
    show(record, as_json=json)
    return 1 if record.flagged else 0
