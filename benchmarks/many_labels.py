"""What it saves and what it costs to give labels up early: the same models searched whole and halved.

    python benchmarks/many_labels.py                   what is not measured, then the table into docs/detection.md
    python benchmarks/many_labels.py --only 'tune-0*'  some models (a shell pattern)
    python benchmarks/many_labels.py --table           only write the table from what is there

Models of the tune split and of strangers with 20 labels and more, found as by benchmarks/detection.py. Two searches and
the last layer look at each, once whole and once halved, each time in a process of its own. Models of up to 512 labels,
of which none is given up by default, are halved with a sample of 16.
Measured models are kept in ``benchmarks/results/many``.
"""

import argparse
import fnmatch
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch
from detection import Model, strangers, zoo_models
from detection_table import IMAGES
from parity_places import ROOT, put

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.data import load
from mantrap.detect import DETECTORS, LastLayer, NeuralCleanse, UniversalPerturbation
from mantrap.records.files import write_atomically
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source

PAGE = ROOT / "docs" / "detection.md"
RESULTS = ROOT / "benchmarks" / "results" / "many"
SEARCHES = (NeuralCleanse.name, UniversalPerturbation.name)
WHOLE, HALVED = "whole", "halved"
FEWEST = 20
_TITLES = ("model", "labels", "target", "searched to the end", "verdict", "p-value", "target's rank", "images", "CPU s")


def known_models(pattern: str) -> list[Model]:
    """The models whose names fit."""
    return [model for model in (*zoo_models("tune"), *strangers()) if fnmatch.fnmatch(model.name, pattern)]


def opened(model: Model) -> tuple[Classifier, ImageSet]:
    """The model, and the images that an audit gets."""
    images = load(model.images, split="test", limit=IMAGES, channels=model.channels or None, rng=Rng(0))
    return model.open(images), images


def measure(model: Model, way: str) -> dict[str, Any]:
    """What an audit says of one model, searched in one of two ways."""
    torch.set_num_threads(1)
    classifier, images = opened(model)
    labels = classifier.num_classes
    few = "(many=16, sample=16)" if labels <= NeuralCleanse().many else ""
    how = "(many=1000000)" if way == WHOLE else few
    detectors = tuple(DETECTORS.create(spec) for spec in (*(name + how for name in SEARCHES), LastLayer.name))
    plan = Plan(detectors=detectors, copy=False, control=False)
    record = audit(classifier, images, plan=plan, source=Source(model.name, ""))
    standings = record.comparison.standings if record.comparison else ()
    order = [one.label for one in standings]
    return {
        "labels": labels,
        "target": list(model.targets),
        "ended": [sum(not label.given_up for label in found.labels) for found in record.detections if found.labels],
        "verdict": record.verdict.value,
        "p_value": record.comparison.p_value if record.comparison else None,
        "rank": [order.index(target) + 1 for target in model.targets],
        "images": sum(cost.backward for cost in record.cost if cost.stage in SEARCHES),
        "cpu": sum(time.cpu_seconds for time in record.volatile.stages if time.stage in SEARCHES),
    }


def measured_apart(model: Model) -> dict[str, Any]:
    """Both ways, each in a process of its own."""
    found = {}
    for way in (WHOLE, HALVED):
        words = [sys.executable, __file__, "--one", json.dumps([model.name, way])]
        found[way] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)  # noqa: S603
    return found


def table(found: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Two lines for each model, and how many times the CPU time of one the other takes."""
    rows = [_row(name, way, both[way]) for name, both in found for way in (WHOLE, HALVED)]
    same = sum(both[WHOLE]["verdict"] == both[HALVED]["verdict"] for _, both in found)
    said = f"The same verdict for {same} of {len(found)} models."
    return "\n".join([f"| {' | '.join(_TITLES)} |", "|" + "---|" * len(_TITLES), *rows, "", said])


def _row(name: str, way: str, one: dict[str, Any]) -> str:
    target, rank = (", ".join(map(str, one[key])) or "-" for key in ("target", "rank"))
    ended = " and ".join(f"{count:,}" for count in one["ended"])
    found = f"{one['verdict']} | {one['p_value']:.2g} | {rank} | {one['images']:,} | {one['cpu']:.1f}"
    return f"| {name} | {one['labels']:,} | {target} | {way}: {ended} | {found} |"


def main() -> int:
    """Measure all, or one where this is a process for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="shell pattern of model names; others as measured")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, way = json.loads(options.one)
        (model,) = known_models(name)
        print(json.dumps(measure(model, way)))
        return 0
    for model in [] if options.table else known_models(options.only):
        path = RESULTS / f"{model.name}.json"
        if not path.exists() and opened(model)[0].num_classes >= FEWEST:
            write_atomically(path, json.dumps(measured_apart(model), indent=1).encode())
            print(model.name, file=sys.stderr, flush=True)
    found = [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json"))]
    put(PAGE, "many", table(sorted(found, key=lambda one: one[1][WHOLE]["labels"])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
