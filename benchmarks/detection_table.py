"""The table of detectors on a zoo: what they find of each family, and how often they are wrong."""

import dataclasses
from collections.abc import Sequence
from itertools import groupby

import torch

from mantrap.core import Rng
from mantrap.ops.intervals import wilson
from mantrap.ops.joining import joined
from mantrap.records import Record, Verdict

LEVEL = 0.05
"""P-value below which a model counts as found."""
CLEAN = "clean"
_RESAMPLED = 2000
_VERDICTS = (Verdict.SUSPICIOUS, Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE)
_TITLES = ("family", "models", "no p-value", "found", "area under the curve", "target first, of all", "CPU s")


class Judged(Record):
    """What a detector says of one model of a zoo.

    ``targets`` is the truth, ``first`` the label that the detector finds most suspicious; ``norm`` and ``success`` are
    those of its trigger where it searches one, ``median`` the norm of a typical label. An audit has a ``verdict``.
    """

    kind: str = "judged"
    model: str
    family: str
    arch: str
    classes: int
    targets: tuple[int, ...]
    detector: str
    p_value: float | None
    first: int | None
    cpu_seconds: float
    norm: float | None = None
    median: float | None = None
    success: float | None = None
    verdict: str = ""


def verdicts(judged: Sequence[Judged]) -> str:
    """How often an audit says what, of each family."""
    titles = ("family", "models", *(v.value for v in _VERDICTS), "first suspect is a target")
    rows = []
    for family in sorted({j.family for j in judged}, key=lambda f: (f != CLEAN, f)):
        group = [j for j in judged if j.family == family]
        counts = [sum(j.verdict == v.value for j in group) for v in _VERDICTS]
        accused = [j for j in group if j.verdict == Verdict.SUSPICIOUS.value and j.targets]
        named = f"{sum(j.first in j.targets for j in accused)} of {len(accused)}" if accused else ""
        rows.append(f"| {family} | {len(group)} | {' | '.join(map(str, counts))} | {named} |")
    return "\n".join([f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *rows])


def table(judged: Sequence[Judged]) -> str:
    """A table for each detector, and one for all together, for each network and all."""
    parts: list[str] = []
    by_detector = {d: [j for j in judged if j.detector == d] for d in sorted({j.detector for j in judged})}
    for name, group in {**by_detector, "both together": _together(judged)}.items():
        for arch in ("all", *sorted({j.arch for j in group})):
            some = [j for j in group if arch in ("all", j.arch)]
            where = "all networks" if arch == "all" else f"`{arch}`"
            parts += [f"**{name}**, {where}", "", *_rows(some), ""]
    return "\n".join(parts).rstrip("\n")


def one_by_one(judged: Sequence[Judged]) -> str:
    """A row for each model and detector."""
    titles = ("model", "is", "target", "detector", "first", "p-value", "norm, median", "success", "CPU s")
    rows = [
        f"| {j.model} | {j.family} | {', '.join(map(str, j.targets)) or '-'} | {j.detector} | "
        f"{'-' if j.first is None else j.first} | {'-' if j.p_value is None else f'{j.p_value:.4f}'} | "
        f"{'' if j.norm is None else f'{j.norm:.1f}, {j.median:.1f}'} | "
        f"{'' if j.success is None else f'{100 * j.success:.1f} %'} | {j.cpu_seconds:.1f} |"
        for j in sorted(judged, key=lambda j: (j.model, j.detector))
    ]
    return "\n".join([f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *rows])


def _together(judged: Sequence[Judged]) -> list[Judged]:
    """Each model by all its p-values in one; see :func:`mantrap.ops.joining.joined`."""
    found: list[Judged] = []
    for _, several in groupby(sorted(judged, key=lambda j: j.model), lambda j: j.model):
        group = list(several)
        known = [(j.p_value, j.first) for j in group if j.p_value is not None and j.first is not None]
        joint, first = joined(known) or (None, None)
        seconds = sum(j.cpu_seconds for j in group)
        found.append(dataclasses.replace(group[0], p_value=joint, first=first, cpu_seconds=seconds))
    return found


def _rows(judged: Sequence[Judged]) -> list[str]:
    """A row for each family, the clean models first, and one for patch, blended and Trojan together."""
    clean = [j for j in judged if j.family == CLEAN]
    families = sorted({j.family for j in judged} - {CLEAN})
    groups = {name: [j for j in judged if j.family == name] for name in families}
    main = [j for name in ("patch", "blended", "trojan") for j in groups.get(name, [])]
    rows = [_row("clean (false alarms)", clean, [])]
    rows += [_row(name, group, clean) for name, group in groups.items()]
    if main:
        rows.append(_row("patch, blended and trojan", main, clean))
    return [f"| {' | '.join(_TITLES)} |", "|" + "---|" * len(_TITLES), *rows]


def _row(name: str, group: Sequence[Judged], clean: Sequence[Judged]) -> str:
    silent = sum(j.p_value is None for j in group)
    hits = sum(_p(j) < LEVEL for j in group)
    found = f"{hits} ({wilson(hits, len(group)).low:.0%} to {wilson(hits, len(group)).high:.0%})" if group else ""
    area = _area([_p(j) for j in group], [_p(j) for j in clean]) if group and clean else ""
    aimed = [j for j in group if j.targets]
    named = f"{sum(j.first in j.targets for j in aimed)} of {len(aimed)}" if aimed else ""
    seconds = f"{sum(j.cpu_seconds for j in group) / len(group):.1f}" if group else ""
    return f"| {name} | {len(group)} | {silent or ''} | {found} | {area} | {named} | {seconds} |"


def _p(judged: Judged) -> float:
    """A model without a p-value is not found."""
    return 1.0 if judged.p_value is None else judged.p_value


def _area(infected: Sequence[float], clean: Sequence[float]) -> str:
    """The chance that a backdoored model has the smaller p-value than a clean one, with its bootstrap interval."""
    first, second = (torch.tensor(values, dtype=torch.float64) for values in (infected, clean))
    wins = (first[:, None] < second).double() + 0.5 * (first[:, None] == second).double()
    stream = Rng(0).torch()
    rows = torch.randint(len(first), (_RESAMPLED, len(first)), generator=stream)
    columns = torch.randint(len(second), (_RESAMPLED, len(second)), generator=stream)
    again = torch.stack([wins[r][:, c].mean() for r, c in zip(rows, columns, strict=True)])
    low, high = (float(again.quantile(q)) for q in (0.025, 0.975))
    return f"{float(wins.mean()):.2f} ({low:.2f} to {high:.2f})"
