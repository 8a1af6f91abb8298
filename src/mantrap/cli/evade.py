"""``mantrap evade``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from mantrap.cli.opening import open_said
from mantrap.cli.options import Declared, Images, Running, command_line, numbers
from mantrap.cli.progress import watching
from mantrap.cli.showing import show


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Misleading:
    """Who misleads the model, how far, and where the answer goes."""

    attack: tuple[str, ...] = ()
    """Spec of an evasion (see `mantrap list evasions`); may be given several times. Some of each kind where none is."""
    eps: tuple[str, ...] = ()
    """Budgets with commas between, such as 0.1,0.2; parts of each evasion's own where not given."""
    aim: Literal["away", "random"] = "away"
    """away: to any other class. random: each image to a class that is drawn for it."""
    behind: str | None = None
    """Spec of a transformation of images before the model (see `mantrap list transformations`), attacked through."""
    arch: str | None = None
    """Architecture where the file has no card: a spec of ours, or FILE.py:NAME of a file that you trust."""
    out: Path | None = None
    """Folder for the record and a report, from which a run that was stopped goes on; none is written without."""
    fresh: bool = False
    """Start over where the work of another run lies."""
    json: bool = False
    """Print the record on stdout, and nothing else."""


_FINDING = 1
_DECLARED, _RUNNING, _MISLEADING = Declared(), Running(), Misleading()


def evade(
    model: Path,
    /,
    *,
    data: Images,
    misleading: Misleading = _MISLEADING,
    declared: Declared = _DECLARED,
    running: Running = _RUNNING,
) -> int:
    """Say how fragile a model is: what it still gets right when its images are changed on purpose.

    Parameters
    ----------
    model: Path
        File of weights, safetensors or a state dict of torch.save.
    """
    from mantrap.evade import DEFAULT_EVASIONS, EVASIONS  # noqa: PLC0415 - torch
    from mantrap.evade.transformations import TRANSFORMATIONS  # noqa: PLC0415 - torch
    from mantrap.records import AimedAt  # noqa: PLC0415 - start-up
    from mantrap.workflow import evade as evading  # noqa: PLC0415 - torch
    from mantrap.workflow.evading import Evading  # noqa: PLC0415 - torch
    from mantrap.workflow.plan import Source  # noqa: PLC0415 - torch

    running.apply()
    evasions = tuple(map(EVASIONS.create, dict.fromkeys(misleading.attack or DEFAULT_EVASIONS)))
    images = data.load(split="test", seed=running.seed)
    opened = open_said(model, misleading.arch, images.shape, declared, running)
    told = {name: getattr(misleading, name) for name in ("attack", "eps", "aim", "behind", "arch", "out")}
    work = Evading(
        model=opened,
        source=Source.of(model),
        images=images,
        evasions=evasions,
        budgets=numbers("--eps", misleading.eps) or (),
        aim=AimedAt(misleading.aim),
        transformation=None if misleading.behind is None else TRANSFORMATIONS.create(misleading.behind),
        seed=running.seed,
        command=command_line("evade", str(model), data, declared, **told, **running.told()),
    )
    out = misleading.out
    record = evading.evade(work, out, fresh=misleading.fresh, progress=watching(quiet=running.quiet))
    show(record, as_json=misleading.json, page=None if out is None else out / evading.REPORT_FILE)
    return _FINDING if any(caution.raised for caution in record.cautions) else 0
