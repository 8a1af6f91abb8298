"""``mantrap poison``."""

import sys
from pathlib import Path

from mantrap.cli.options import Images, Running

_RUNNING = Running()


def poison(
    *,
    images: Images,
    out: Path,
    trigger: str = "patch",
    selection: str = "random_share",
    relabelling: str = "all_to_one",
    json: bool = False,
    running: Running = _RUNNING,
) -> int:
    """Plant a backdoor in a training set; the truth goes into a file of its own.

    Parameters
    ----------
    out: Path
        Where the poisoned set goes, NAME.npz; NAME.truth.json lies beside it.
    trigger: str
        What is put on images, such as "patch(size=4, colour='white')".
    selection: str
        Which images, such as "random_share(rate=0.1)".
    relabelling: str
        Which label they get, such as "all_to_one(target=3)".
    json: bool
        Print the truth on stdout, and nothing else.
    """
    from mantrap.core import Rng  # noqa: PLC0415 - torch
    from mantrap.poison import plan  # noqa: PLC0415 - torch
    from mantrap.workflow.poison import poison as run  # noqa: PLC0415 - torch
    from mantrap.workflow.truths import truth_path  # noqa: PLC0415 - torch

    what = plan(trigger, selection, relabelling)
    found = images.load(split="train", seed=running.seed)
    truth = run(found, out, plan=what, rng=Rng(running.seed).child("poison"))
    if json:
        sys.stdout.write(truth.to_json())
        return 0
    for backdoor in truth.backdoors:
        sys.stdout.write(
            f"{out}: {len(backdoor.poisoned)} of {len(found)} images carry {backdoor.training_trigger} and"
            f" {backdoor.relabelling}\n"
        )
    sys.stdout.write(f"The truth is in {truth_path(out)}; keep it from whoever defends.\n")
    return 0
