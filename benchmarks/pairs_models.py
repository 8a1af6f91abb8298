"""Models with a source-specific backdoor to measure the scan of pairs on: more of them than the zoo has."""

import dataclasses
import re
from pathlib import Path

import numpy as np
from parity_places import ROOT

from mantrap.records import ZooModel, ZooPlan
from mantrap.workflow.zoo import make
from mantrap.workflow.zoo_plan import CLEAN, Split, population

FOLDER = ROOT / "runs" / "zoo" / "pairs"
FEWEST = 4
"""Classes: of fewer, two sources are nearly all of the others."""
SEEDS: dict[Split, int] = {"tune": 5, "test": 6}


def plans(split: Split) -> tuple[ZooPlan, ...]:
    """Twelve models: two of each network and data set of the split's clean models that has enough classes."""
    rng, found = np.random.default_rng(SEEDS[split]), list[ZooPlan]()
    tasks: dict[tuple[str, str], list[ZooPlan]] = {}
    for plan in (p for p in population(split) if p.family == CLEAN):
        tasks.setdefault((plan.arch, plan.images.partition("(")[0]), []).append(plan)
    for turn in range(2):
        for key in sorted(tasks):
            plan = tasks[key][turn % len(tasks[key])]
            classes = _classes(plan.images)
            if classes < FEWEST:
                continue
            target = int(rng.integers(classes))
            others = [c for c in range(classes) if c != target]
            sources = tuple(sorted(int(s) for s in rng.choice(others, 2, replace=False)))
            rate = 0.5 * len(sources) / classes
            attack = f"badnets(goal='source_specific', target={target}, sources={sources}, rate={rate:.3f})"
            name, seed = f"pairs-{split}-{len(found):02d}", int(rng.integers(2**31))
            found.append(dataclasses.replace(plan, name=name, family="source_specific", attack=attack, seed=seed))
    return tuple(found)


def build(split: Split) -> list[tuple[ZooModel, Path]]:
    """These models, with their files; what is finished is not made again, and what did not come out is left out."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = []
    for plan in plans(split):
        done = FOLDER / f"{plan.name}.zoo.json"
        model = ZooModel.from_json(done.read_text(encoding="utf-8")) if done.exists() else make(plan, out=FOLDER)
        if model.works:
            made.append((model, FOLDER / f"{plan.name}.safetensors"))
    return made


def _classes(images: str) -> int:
    """How many classes a data set has, from its spec."""
    listed, counted = re.search(r"classes=\(([\d, ]+)\)", images), re.search(r"classes=(\d+)", images)
    if listed:
        return len([c for c in listed[1].split(",") if c.strip()])
    return int(counted[1]) if counted else 10


if __name__ == "__main__":
    for split in SEEDS:
        for model, _ in build(split):
            print(model.plan.name, model.plan.arch, model.plan.images, model.plan.attack, flush=True)
