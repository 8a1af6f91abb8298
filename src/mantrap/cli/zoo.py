"""``mantrap zoo``."""

import sys
from pathlib import Path
from typing import Literal

from mantrap.cli.progress import watching


def build(
    *,
    split: Literal["null", "tune", "test"],
    out: Path,
    only: str = "*",
    workers: int = 2,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Make the clean and backdoored models that defenders are measured on; the same command goes on after a kill.

    Parameters
    ----------
    split: Literal["null", "tune", "test"]
        tune has 30 clean and 40 backdoored models to design a defender on, test 60 and 80 to report on once; null has
        75 clean ones, of more networks and images, to learn from how clean models differ.
    out: Path
        Folder for the models and their manifest.json.
    only: str
        A part of them: a shell pattern of families or names.
    workers: int
        Processes that make models at the same time, each with one thread.
    json: bool
        Print the manifest on stdout, and nothing else.
    quiet: bool
        No progress on stderr.
    """
    from mantrap.engine import Processes  # noqa: PLC0415 - torch
    from mantrap.workflow.zoo import build_zoo, cost_by_family  # noqa: PLC0415 - torch

    manifest = build_zoo(split, out, only=only, engine=Processes(workers=workers), progress=watching(quiet=quiet))
    if json:
        sys.stdout.write(manifest.to_json())
        return 0
    for family, (made, work, seconds) in cost_by_family(manifest).items():
        sys.stdout.write(f"{family:<12} {made:>3} made, {work:>3} work, {seconds / made:6.1f} CPU seconds a model\n")
    minutes = sum(model.cpu_seconds for model in manifest.models) / 60
    sys.stdout.write(f"{out}: {len(manifest.models)} of {manifest.planned} models, {minutes:.1f} CPU minutes\n")
    return 0
