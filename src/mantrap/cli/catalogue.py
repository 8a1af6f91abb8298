"""``mantrap list`` and ``mantrap explain``."""

import sys
import textwrap
from collections.abc import Iterable
from typing import Any

from mantrap.errors import SpecError, UsageError


def show_list(family: str | None = None, /) -> int:
    """Name every detector, attack, trigger, architecture, data set and so on.

    Parameters
    ----------
    family: str
        Only these, such as attacks.
    """
    from mantrap.core.describe import summary  # noqa: PLC0415 - torch

    families = _families()
    if family is not None and family not in families:
        raise UsageError(
            expected=f"one of {', '.join(families)}", got=repr(family), remedy="Run `mantrap list` to see them all."
        )
    for title, kinds in families.items():
        if family not in (None, title):
            continue
        sys.stdout.write(f"{title}\n")
        for kind in kinds:
            sys.stdout.write(f"  {kind.name:<18} {summary(kind)}\n")
    return 0


def explain(spec: str, /) -> int:
    """Describe one of them and its options.

    Parameters
    ----------
    spec: str
        A name from `mantrap list`, or a spec, whose values are checked and shown.
    """
    from mantrap.core import Spec, build  # noqa: PLC0415 - torch
    from mantrap.core.describe import body, option_texts  # noqa: PLC0415 - torch

    parsed = Spec.parse(spec)
    everything = {kind.name: (title, kind) for title, kinds in _families().items() for kind in kinds}
    if parsed.name not in everything:
        raise SpecError(
            expected="a name from `mantrap list`", got=repr(parsed.name), remedy="Run `mantrap list` to see the names."
        )
    title, kind = everything[parsed.name]
    chosen = build(kind, parsed)
    sys.stdout.write(f"{parsed.name} ({title})\n\n{body(kind)}\n")
    texts = option_texts(kind)
    sys.stdout.write("\nOptions\n" if texts else "\nNo options.\n")
    for option, text in texts.items():
        sys.stdout.write(f"  {option}={getattr(chosen, option)!r}\n")
        sys.stdout.write(textwrap.indent(textwrap.fill(text, 92), " " * 6) + "\n")
    return 0


def _families() -> dict[str, Iterable[type[Any]]]:
    """Every registry by what its members are."""
    from mantrap.data import NAMED  # noqa: PLC0415 - torch
    from mantrap.detect import DETECTORS  # noqa: PLC0415 - torch
    from mantrap.evade import EVASIONS  # noqa: PLC0415 - torch
    from mantrap.evade.hardening import HARDENINGS  # noqa: PLC0415 - torch
    from mantrap.evade.transformations import TRANSFORMATIONS  # noqa: PLC0415 - torch
    from mantrap.guard import GUARDS  # noqa: PLC0415 - torch
    from mantrap.models import ARCHITECTURES  # noqa: PLC0415 - torch
    from mantrap.poison import ATTACKS, PREPARATIONS, RELABELLINGS, SELECTIONS, TRIGGERS  # noqa: PLC0415 - torch
    from mantrap.repair import REPAIRS, SAFE_TRAININGS  # noqa: PLC0415 - torch
    from mantrap.screen import SCREENS  # noqa: PLC0415 - torch
    from mantrap.training import AUGMENTATIONS, LOSSES, OPTIMIZERS, SCHEDULES, Recipe  # noqa: PLC0415 - torch

    return {
        "detectors": DETECTORS,
        "repairs": REPAIRS,
        "safe trainings": SAFE_TRAININGS,
        "guards": GUARDS,
        "screens": SCREENS,
        "evasions": EVASIONS,
        "transformations": TRANSFORMATIONS,
        "hardenings": HARDENINGS,
        "data sets": NAMED,
        "architectures": ARCHITECTURES,
        "attacks": ATTACKS,
        "triggers": TRIGGERS,
        "selections": SELECTIONS,
        "relabellings": RELABELLINGS,
        "preparations": PREPARATIONS,
        "training": [Recipe],
        "losses": LOSSES,
        "optimisers": OPTIMIZERS,
        "schedules": SCHEDULES,
        "augmentations": AUGMENTATIONS,
    }
