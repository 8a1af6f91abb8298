"""Learn how clean models scatter, and write it into the package: src/mantrap/detect/nulls.json.

The clean models of the null split are built and measured first; nothing is learned from those of other splits:

    mantrap zoo build --split null --out runs/zoo/null
    MANTRAP_DATA=../shared/data python benchmarks/detection.py --split null
    python benchmarks/null.py
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from detection_table import Judged
from parity_places import ROOT

from mantrap.detect.nulls import FILE
from mantrap.ops.explained import less_kept
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
    heights = {name: [_heights(name, m.traits) for m in models] for name in TRAITS}
    known = {name: {"alike": _alike(name, trait.height, models)} for name, trait in TRAITS.items()}
    return _null(arch, heights, known, "")


def learn_beside_copies(arch: str, models: Sequence[Judged]) -> Null:
    """The same beside copies of these models, retrained on clean images."""
    known = {name: {"kept": _kept(name, models)} for name in TRAITS}
    heights = {name: [_beside_copy(name, m, known[name]["kept"]) for m in models] for name in TRAITS}
    return _null(arch, heights, known, ", each beside a copy of itself that was retrained for a moment")


def _null(
    arch: str,
    heights: Mapping[str, Sequence[Mapping[int, float]]],
    known: Mapping[str, Mapping[str, Any]],
    beside: str,
) -> Null:
    """The null of heights by trait, model and label, and of what else is known of each trait."""
    scatters = [
        dataclasses.replace(
            fit_scatter(name, [list(h.values()) for h in heights[name]], level=trait.level), **known[name]
        )
        for name, trait in TRAITS.items()
    ]
    networks = f"{arch} networks" if arch else "networks of several kinds"
    return Null(
        arch=arch,
        scatters=tuple(scatters),
        together=_together(heights, scatters),
        learned_from=f"{max(map(len, heights.values()))} {networks} that were trained without a backdoor{beside}",
    )


def _beside_copy(trait: str, model: Judged, kept: float) -> dict[int, float]:
    """The heights of one model less what is kept of them in its copy; none where the copy says nothing of them."""
    own = _heights(trait, model.traits)
    if not kept:
        return own
    return less_kept(own, _heights(trait, model.copied), kept, unsure=model.unsure) or {}


def _kept(trait: str, models: Sequence[Judged]) -> float:
    """The slope of the heights of labels over those in copies, within models; 0 where copies say nothing."""
    both = square = 0.0
    for model in models:
        own, copied = _heights(trait, model.traits), _heights(trait, model.copied)
        shared = [k for k in own if k in copied and k not in model.unsure]
        if len(shared) > 1:
            x, y = (np.array([heights[k] for k in shared]) for heights in (copied, own))
            x, y = x - x.mean(), y - y.mean()
            both, square = both + float((x * y).sum()), square + float((x * x).sum())
    return round(max(0.0, both / square), 3) if square else 0.0


def _heights(trait: str, traits: Mapping[str, Mapping[str, float]]) -> dict[int, float]:
    """How high the labels of one model stand; none where the trait says nothing of it."""
    values = traits.get(trait, {})
    if not TRAITS[trait].tells(values.values()):
        return {}
    found = ((int(k), TRAITS[trait].height(v)) for k, v in values.items())
    return {label: height for label, height in found if height is not None}


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


def _together(
    heights: Mapping[str, Sequence[Mapping[int, float]]], scatters: Sequence[Scatter]
) -> tuple[tuple[float, ...], ...]:
    """The covariance of -2 log p between traits, from heights by trait and model; no less than none, 4 with itself."""
    logs: dict[str, dict[tuple[int, int], float]] = {s.trait: {} for s in scatters}
    for scatter in scatters:
        for place, found in enumerate(heights[scatter.trait]):
            chances = log_chances(list(found.values()), scatter)
            logs[scatter.trait] |= {(place, k): -2 * log for k, log in zip(found, chances, strict=True)}

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
    with_copy = {a: [m for m in few if m.copied] for a, few in own.items()}
    copies = (
        learn_beside_copies("", [m for m in models if m.copied]),
        *(learn_beside_copies(a, few) for a, few in with_copy.items() if len(few) >= FEWEST),
    )
    nulls = Nulls(nulls=every, beside_copies=copies, shifts=learn_shifts(models))
    write_atomically(ROOT / "src" / "mantrap" / "detect" / FILE, nulls.to_json().encode())
    for null in (*nulls.nulls, *nulls.beside_copies):
        print(null.arch or "any network", null.learned_from)
        for s in null.scatters:
            level = "" if s.between is None else f", level {s.centre:.2f} +- {s.between:.2f}"
            kept = f", kept {s.kept:.2f}" if s.kept else ""
            print(f"  {s.trait}: spread {s.spread:.3f}, freedom {s.freedom:.1f}{level}{kept}")
        print("  together", *null.together, sep="\n    ")
    for shift in nulls.shifts:
        print(shift)


if __name__ == "__main__":
    main()
