"""``mantrap poison``."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from mantrap.cli.opening import open_said
from mantrap.cli.options import Declared, Images, Output, Running
from mantrap.cli.progress import watching
from mantrap.cli.showing import already, version_of
from mantrap.errors import UsageError

if TYPE_CHECKING:
    from mantrap.core.attack import DataAttack, ModelAttack
    from mantrap.poison import Poison


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of an attack, where it has no name; a white patch on a tenth of the images where nothing is said."""

    trigger: str | None = None
    """What is put on images, such as "patch(size=4, colour='white')"."""
    selection: str | None = None
    """Which images, such as "random_share(rate=0.1)"."""
    relabelling: str | None = None
    """Which label they get, such as "all_to_one(target=3)"."""
    cover: str | None = None
    """Which further images carry the trigger and keep their label, such as "random_share(rate=0.1)"."""
    test_trigger: str | None = None
    """What goes on images when the attack is used, where that is another trigger."""
    preparation: str | None = None
    """What is done to the chosen images before the trigger goes on them."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Attacker:
    """What to plant, and the model that the attacker has, where an attack needs one."""

    attack: tuple[str, ...] = ()
    """Spec of an attack by name; may be given several times."""
    model: Path | None = None
    """A model of the attacker's, for attacks that need one: a file of weights."""
    arch: str | None = None
    """Its architecture, where the file has no card."""


_PARTS, _ATTACKER, _DECLARED, _RUNNING = Parts(), Attacker(), Declared(), Running()


def poison(
    *,
    images: Images,
    output: Output,
    attacker: Attacker = _ATTACKER,
    parts: Parts = _PARTS,
    declared: Declared = _DECLARED,
    running: Running = _RUNNING,
) -> int:
    """Plant a backdoor in a training set: NAME.npz, NAME.parquet or a folder; the truth goes into NAME.truth.json."""
    from mantrap.core import Rng  # noqa: PLC0415 - torch
    from mantrap.workflow.poison import poison as run  # noqa: PLC0415 - torch
    from mantrap.workflow.truths import truth_path  # noqa: PLC0415 - torch

    running.apply()
    plan = _plan(attacker.attack, parts)
    found = images.load(split="train", seed=running.seed)
    model = None
    if attacker.model is not None:
        model = open_said(attacker.model, attacker.arch, found.shape, declared, running)
    out = output.out
    before = version_of(truth_path(out)) if out.exists() else None
    truth = run(
        found,
        out,
        plan=plan,
        model=model,
        rng=Rng(running.seed).child("poison"),
        fresh=output.fresh,
        progress=watching(quiet=running.quiet),
    )
    if output.json:
        sys.stdout.write(truth.to_json())
        return 0
    for backdoor in truth.backdoors:
        covers = f"; {len(backdoor.covers)} more carry the trigger and keep their label" if backdoor.covers else ""
        what = f"{backdoor.training_trigger}, {backdoor.relabelling}"
        sys.stdout.write(f"{out}: {len(backdoor.poisoned)} of {len(found)} images, {what}{covers}\n")
    sys.stdout.write(f"The truth is in {truth_path(out)}; keep it from whoever defends.\n")
    sys.stdout.write(already(truth_path(out), before))
    return 0


def _plan(attacks: tuple[str, ...], parts: Parts) -> "Poison | DataAttack | ModelAttack":
    from mantrap.poison import ATTACKS, combine, plan  # noqa: PLC0415 - torch

    said = {name: spec for name, spec in asdict(parts).items() if spec is not None}
    if not attacks:
        return plan(**said)
    if said:
        raise UsageError(
            expected="an attack by --attack, or its parts, but not both",
            got=", ".join(f"--{name.replace('_', '-')}" for name in ("attack", *said)),
            remedy="Leave one of them out.",
        )
    return combine([ATTACKS.create(spec) for spec in attacks])
