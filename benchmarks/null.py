"""Learn how clean models scatter, and write it into the package: src/mantrap/detect/nulls.json.

The clean models of the null split are built and measured first; nothing is learned from those of other splits:

    mantrap zoo build --split null --out runs/zoo/null
    MANTRAP_DATA=../shared/data python benchmarks/detection.py --split null
    python benchmarks/null.py
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from detection_table import Judged
from parity_places import ROOT

from mantrap.detect.nulls import FILE
from mantrap.ops.moderated import fit_scatter, log_chances
from mantrap.records import Null, Nulls, Scatter, ShiftScatter
from mantrap.records.files import write_atomically
from mantrap.records.traits import TRAITS

MEASURED = ROOT / "benchmarks" / "results" / "detection" / "null"
FEWEST = 15
"""Models of one network, at least, for a null of its own."""
FEWEST_LABELS = 8
"""Labels that a correlation of two models is told from, at least."""
MANY, EVERY = 6, 1_000_000
"""Classes from which two that are alike say little about all of them, and more than a model has."""


def learn(arch: str, models: Sequence[Judged]) -> Null:
    """The null of some clean models."""
    scatters = [
        dataclasses.replace(
            fit_scatter(name, _heights(name, models), level=trait.level), alike=_alike(name, trait.height, models)
        )
        for name, trait in TRAITS.items()
    ]
    networks = f"{arch} networks" if arch else "networks of several kinds"
    return Null(
        arch=arch,
        scatters=tuple(scatters),
        together=_together(models, scatters),
        learned_from=f"{len(models)} {networks} that were trained without a backdoor",
    )


def _heights(trait: str, models: Sequence[Judged]) -> list[list[float]]:
    found = ([TRAITS[trait].height(v) for v in m.traits.get(trait, {}).values()] for m in models)
    return [[h for h in heights if h is not None] for heights in found]


def _alike(trait: str, height: Callable[[float], float | None], models: Sequence[Judged]) -> float:
    """The mean correlation of the heights of labels between models of the same network and the same images."""
    found = []
    for one, other in itertools.combinations(models, 2):
        if (one.arch, one.images) != (other.arch, other.images):
            continue
        values = [{k: height(v) for k, v in m.traits.get(trait, {}).items()} for m in (one, other)]
        shared = [k for k, h in values[0].items() if h is not None and values[1].get(k) is not None]
        if len(shared) >= FEWEST_LABELS:
            pair = np.array([[v[k] for k in shared] for v in values], dtype=float)
            found.append(float(np.corrcoef(pair)[0, 1]))
    return round(max(0.0, float(np.mean(found))), 3) if found else 0.0


def learn_shifts(models: Sequence[Judged]) -> tuple[ShiftScatter, ...]:
    """How the likeliest shift scatters, over models of few classes and of many."""
    found = []
    for fewest, most in ((2, MANY - 1), (MANY, EVERY)):
        some = [m for m in models if fewest <= m.classes <= most and m.shifts]
        likely = np.array([max(m.shifts.values()) for m in some])
        found.append(
            ShiftScatter(
                fewest=fewest,
                most=most,
                centre=float(likely.mean()),
                between=float(likely.std(ddof=1)),
                models=len(some),
                shifts=max(len(m.shifts) for m in some),
            )
        )
    return tuple(found)


def _together(models: Sequence[Judged], scatters: Sequence[Scatter]) -> tuple[tuple[float, ...], ...]:
    """The covariance of -2 log p between traits; no less than none, and 4 on the diagonal."""
    logs: dict[str, dict[tuple[str, str], float]] = {s.trait: {} for s in scatters}
    for model, scatter in itertools.product(models, scatters):
        values = model.traits.get(scatter.trait, {})
        heights = {k: h for k, v in values.items() if (h := TRAITS[scatter.trait].height(v)) is not None}
        found = zip(heights, log_chances(list(heights.values()), scatter), strict=True)
        logs[scatter.trait] |= {(model.model, label): -2 * log for label, log in found}

    def covariance(first: str, second: str) -> float:
        if first == second:
            return 4.0
        shared = sorted(logs[first].keys() & logs[second].keys())
        pairs = np.array([[logs[name][key] for key in shared] for name in (first, second)])
        return round(min(4.0, max(0.0, float(np.cov(pairs)[0, 1]))), 3)

    names = [s.trait for s in scatters]
    return tuple(tuple(covariance(a, b) for b in names) for a in names)


def main() -> None:
    """Learn, and write the table."""
    models = [Judged.from_json(p.read_text(encoding="utf-8")) for p in sorted(MEASURED.glob("*.json"))]
    archs = sorted({m.arch for m in models})
    own = {arch: [m for m in models if m.arch == arch] for arch in archs}
    every = (learn("", models), *(learn(a, few) for a, few in own.items() if len(few) >= FEWEST))
    nulls = Nulls(nulls=every, shifts=learn_shifts(models))
    write_atomically(ROOT / "src" / "mantrap" / "detect" / FILE, nulls.to_json().encode())
    for null in nulls.nulls:
        print(null.arch or "any network", null.learned_from)
        for s in null.scatters:
            level = "" if s.between is None else f", level {s.centre:.2f} +- {s.between:.2f}"
            print(f"  {s.trait}: spread {s.spread:.3f}, freedom {s.freedom:.1f}{level}")
        print("  together", *null.together, sep="\n    ")
    for shift in nulls.shifts:
        print(shift)


if __name__ == "__main__":
    main()
