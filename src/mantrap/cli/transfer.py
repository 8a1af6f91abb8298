"""``mantrap transfer``."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from mantrap.cli.opening import open_said
from mantrap.cli.options import Declared, Images, Running, command_line
from mantrap.cli.progress import watching
from mantrap.cli.showing import show
from mantrap.errors import UsageError


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Carrying:
    """What is carried over from model to model, and where the answer goes."""

    attack: str | None = None
    """Spec of the evasion that makes examples (see `mantrap list evasions`)."""
    distortion: float | None = None
    """Bring every change to this root mean square change of a value, such as 0.1; left as it is where not given."""
    arch: tuple[str, ...] = ()
    """Architecture of the models where their files have no cards: one for all, or one for each in their order."""
    out: Path | None = None
    """Folder for the record and a report; none is written without."""
    fresh: bool = False
    """Start over where the work of another run lies."""
    json: bool = False
    """Print the record on stdout, and nothing else."""


_DECLARED, _RUNNING, _CARRYING = Declared(), Running(), Carrying()


def transfer(
    models: tuple[Path, ...],
    /,
    *,
    data: Images,
    carrying: Carrying = _CARRYING,
    declared: Declared = _DECLARED,
    running: Running = _RUNNING,
) -> int:
    """Say whether what misleads one of some models misleads the others.

    Parameters
    ----------
    models: tuple[Path, ...]
        Files of weights of two models or more, safetensors or state dicts of torch.save.
    """
    from mantrap.evade import DEFAULT_TRANSFERRED, EVASIONS  # noqa: PLC0415 - torch
    from mantrap.workflow import transfer as transferring  # noqa: PLC0415 - torch
    from mantrap.workflow.plan import Source  # noqa: PLC0415 - torch
    from mantrap.workflow.transferring import Transferring  # noqa: PLC0415 - torch

    running.apply()
    evasion = EVASIONS.create(carrying.attack or DEFAULT_TRANSFERRED)
    images = data.load(split="test", seed=running.seed)
    archs = _each(carrying.arch, len(models))
    opened = tuple(
        (Source.of(path), open_said(path, arch, images.shape, declared, running))
        for path, arch in zip(models, archs, strict=True)
    )
    told = {name: getattr(carrying, name) for name in ("attack", "distortion", "arch", "out")}
    work = Transferring(
        models=opened,
        images=images,
        evasion=evasion,
        stretched=carrying.distortion,
        seed=running.seed,
        command=command_line("transfer", tuple(map(str, models)), data, declared, **told, **running.told()),
    )
    out = carrying.out
    record = transferring.transfer(work, out, fresh=carrying.fresh, progress=watching(quiet=running.quiet))
    show(record, as_json=carrying.json, page=None if out is None else out / transferring.REPORT_FILE)
    return 0


def _each(archs: tuple[str, ...], models: int) -> tuple[str | None, ...]:
    """The architecture of each model, ``None`` where its card has it.

    Raises:
        UsageError: More than one, and not one for each.
    """
    if len(archs) in (0, 1):
        return (archs[0] if archs else None,) * models
    if len(archs) != models:
        raise UsageError(
            expected=f"--arch once, or once for each of {models} models",
            got=f"{len(archs)}",
            remedy="Give one for all, or one for each in their order.",
        )
    return archs
