"""``mantrap demo``."""

import sys
from pathlib import Path

from mantrap.cli.options import Running
from mantrap.cli.progress import watching
from mantrap.records.files import write_atomically

_RUNNING = Running()


def demo(*, out: Path = Path("mantrap-demo"), running: Running = _RUNNING) -> int:
    """Train a clean and a backdoored model on synthetic signs, and audit both.

    Parameters
    ----------
    out: Path
        Folder for the models, the records and the reports.
    """
    from mantrap.report import render_html  # noqa: PLC0415 - start-up
    from mantrap.workflow.audit import REPORT_FILE  # noqa: PLC0415 - torch
    from mantrap.workflow.demo import demo as run  # noqa: PLC0415 - torch

    running.apply(threads=1)  # networks and batches this small lose more by sharing work than they gain
    for shown in run(out, seed=running.seed, device=running.device, progress=watching(quiet=running.quiet)):
        page = shown.folder / "audit" / REPORT_FILE
        write_atomically(page, render_html(shown.record).encode())
        planted = ""
        if shown.success is not None:
            planted = f", the trigger planted for label {shown.target} works on {100 * shown.success.value:.1f} %"
        sys.stdout.write(
            f"\nThe {shown.title} model: right on {100 * shown.accuracy.value:.1f} % of clean images{planted}\n"
            f"  {shown.record.verdict}. {shown.record.headline}\n"
            f"  {page}\n"
        )
    sys.stdout.write(
        "\nSUSPICIOUS takes a trigger that works and a label that stands out as in less than 2 % of models without a\n"
        "backdoor. The reports show how all labels stand.\n"
    )
    return 0
