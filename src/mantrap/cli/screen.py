"""``mantrap screen``."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from mantrap.cli.opening import open_said
from mantrap.cli.options import Declared, Form, Images, Running, command_line
from mantrap.cli.progress import watching
from mantrap.cli.showing import EXIT, show


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Looking:
    """Who looks, with what, and where the answer goes."""

    model: Path
    """A model that was trained on the set: file of weights, safetensors or a state dict of torch.save."""
    arch: str | None = None
    """Architecture where the file has no card: a spec of ours, or FILE.py:NAME of a file that you trust."""
    screen: tuple[str, ...] = ()
    """Spec of a screen; may be given several times. One for backdoors and one for wrong labels where none is given."""
    clean: str | None = None
    """Images that are known to be clean, by name or path, such as the test set; their test split where divided."""
    out: Path | None = None
    """Folder for the record, the ranked list, the list of images to keep, and a report; none is written without."""
    fresh: bool = False
    """Start over where the work of another run lies."""
    json: bool = False
    """Print the record on stdout, and nothing else."""


_FORM, _DECLARED, _RUNNING = Form(), Declared(), Running()


def screen(
    data: str, /, *, looking: Looking, form: Form = _FORM, declared: Declared = _DECLARED, running: Running = _RUNNING
) -> int:
    """Look for poison in a training set, and say which images to keep.

    Parameters
    ----------
    data: str
        The training set: a named set, or the path of a folder, .npz, .parquet or idx file; its train split.
    """
    from mantrap.screen import DEFAULT_SCREENS, SCREENS  # noqa: PLC0415 - torch
    from mantrap.workflow import screen as screening  # noqa: PLC0415 - torch
    from mantrap.workflow.plan import Source  # noqa: PLC0415 - torch
    from mantrap.workflow.screening import Screening  # noqa: PLC0415 - torch

    running.apply()
    screens = tuple(map(SCREENS.create, dict.fromkeys(looking.screen or DEFAULT_SCREENS)))
    suspects = form.load_from(data, split="train", seed=running.seed)
    clean = None
    if looking.clean is not None:
        beside = Images(images=looking.clean, resize=form.resize, channels=form.channels)
        clean = beside.load(split="test", seed=running.seed)
    model = open_said(looking.model, looking.arch, suspects.shape, declared, running)
    told = {name: getattr(looking, name) for name in ("model", "arch", "screen", "clean", "out")}
    work = Screening(
        model=model,
        source=Source.of(looking.model),
        suspects=suspects,
        screens=screens,
        clean=clean,
        seed=running.seed,
        command=command_line("screen", data, form, declared, **told, **running.told()),
    )
    watch, out = watching(quiet=running.quiet), looking.out
    record = screening.screen(work, out, fresh=looking.fresh, progress=watch)
    if out is None:
        show(record, as_json=looking.json)
    else:
        kept = f"To train without the flagged images: --only {out / screening.KEPT_FILE}\n"
        show(record, as_json=looking.json, page=out / screening.REPORT_FILE, more=kept)
    return EXIT[record.verdict]
