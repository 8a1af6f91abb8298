"""Audit the models of a zoo, and write what came of it into docs/detection.md.

One command, resumable at any point. The zoo is built first, with ``mantrap zoo build``; what is measured of one model
is kept in ``benchmarks/results/detection``, one file each. Verdicts are not kept: they follow from what was measured
and from the table of models without a backdoor, which ``benchmarks/null.py`` makes of the null split.

    python benchmarks/detection.py                        what is not finished of the tune split, then the table
    python benchmarks/detection.py --split test           the same for the test split
    python benchmarks/detection.py --split null           clean models, to learn from
    python benchmarks/detection.py --split strangers      models that other people trained, in ../shared/zoo
    python benchmarks/detection.py --only 'tune-00*'      some models (a shell pattern)
    python benchmarks/detection.py --seed 1               the same models with other randomness, to compare verdicts
    python benchmarks/detection.py --table                only write the tables from what is there
"""

import argparse
import fnmatch
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detection_table import (
    IMAGES,
    Decided,
    Judged,
    agreement,
    beside_copies,
    coverage,
    decided,
    one_by_one,
    referenced,
    tables,
)
from pairs_table import known_with_pairs, scanned
from parity_places import ROOT, SHARED, put

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.data import load
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS
from mantrap.detect.nulls import COVERAGE_FILE
from mantrap.models import Preprocessing, open_model
from mantrap.records import TraitRecord, ZooModel
from mantrap.records.files import write_atomically
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source

PAGE = ROOT / "docs" / "detection.md"
RESULTS = ROOT / "benchmarks" / "results" / "detection"
PAIRS = RESULTS / "pairs"
STRANGERS, AGAIN = "strangers", "tune"
_DATA = (("GTSRB", "gtsrb"), ("CIFAR-10", "cifar10"), ("MNIST", "mnist"))


@dataclass(frozen=True)
class Model:
    """A model to look at, what it is, and where its images are."""

    name: str
    family: str
    arch: str
    targets: tuple[int, ...]
    images: str
    channels: int
    open: Callable[[ImageSet], Classifier]


def zoo_models(part: str) -> list[Model]:
    """The models of a zoo that are what they were meant to be."""
    folder = ROOT / "runs" / "zoo" / part
    found = [ZooModel.from_json(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.zoo.json"))]

    def model(one: ZooModel) -> Model:
        plan = one.plan
        targets = tuple(m.target for m in one.measures if m.target is not None)
        path = folder / f"{plan.name}.safetensors"

        def opened(images: ImageSet) -> Classifier:
            return open_model(path, images_shape=images.shape)

        return Model(plan.name, plan.family, plan.arch, targets, plan.images, 0, opened)

    return [model(one) for one in found if one.works]


def strangers() -> list[Model]:
    """The models of other people, as their manifest describes them."""
    zoo = SHARED / "zoo"
    return [_stranger(zoo, entry) for entry in json.loads((zoo / "manifest.json").read_text(encoding="utf-8"))]


def _stranger(zoo: Path, entry: dict[str, Any]) -> Model:
    name, data = entry["id"], entry["dataset"]
    faces = str(SHARED / "data" / "faces_lfw_scan_55x47.npz")
    images = next(source for word, source in (*_DATA, ("", faces)) if word in data)
    declared = Preprocessing(
        mean=None if entry["mean"] is None else tuple(entry["mean"]),
        std=None if entry["std"] is None else tuple(entry["std"]),
        pixel_range=(0.0, 255.0) if entry["input_scale"] == "0..255" else None,
    )
    targets = () if entry["target"] is None else (int(entry["target"]),)

    def opened(pictures: ImageSet) -> Classifier:
        arch = f"{zoo / 'archs.py'}:{name}"
        return open_model(zoo / f"{name}.safetensors", arch=arch, images_shape=pictures.shape, declared=declared)

    return Model(name, entry["status"], entry["arch"], targets, images, 3 if images == faces else 0, opened)


def run(model: Model, images: ImageSet, seed: int, *, copy: bool | None = None) -> Judged:
    """What an audit with its default detectors says of one model, and of a copy where it wants one, or always."""
    classifier = model.open(images)
    detectors = tuple(DETECTORS.create(name) for name in DEFAULT_DETECTORS)
    record = audit(
        classifier,
        images,
        plan=Plan(detectors=detectors, copy=copy, control=False, seed=seed),
        source=Source(model.name, ""),
    )
    seconds = {stage.stage: stage.cpu_seconds for stage in record.volatile.stages}
    successes: dict[str, float] = {}
    for found in record.detections:
        for label in found.labels:
            if label.success is not None:
                successes[str(label.label)] = max(label.success, successes.get(str(label.label), 0.0))
    return Judged(
        model=model.name,
        family=model.family,
        arch=model.arch,
        network=classifier.arch,
        classes=classifier.num_classes,
        targets=model.targets,
        traits=_by_trait(entry for found in record.detections for entry in found.traits),
        successes=successes,
        barred=bool(record.barring),
        images=model.images,
        shifts={} if record.shift is None else dict(record.shift.others),
        moved=0.0 if record.shift is None else record.shift.success.value,
        copied=_by_trait(() if record.copy is None else record.copy.traits),
        unsure=() if record.copy is None else record.copy.unsure,
        drawn={
            entry.trait: found.population
            for found in record.detections
            if found.population is not None
            for entry in found.traits
        },
        cpu_seconds={name: seconds[name] for name in (*DEFAULT_DETECTORS, "copy") if name in seconds},
    )


def _by_trait(entries: Iterable[TraitRecord]) -> dict[str, dict[str, float]]:
    """Values by trait and label."""
    values: dict[str, dict[str, float]] = {}
    for entry in entries:
        values.setdefault(entry.trait, {})[str(entry.label)] = entry.value
    return values


def main() -> int:
    """Run what is not finished, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("null", "tune", "test", STRANGERS), default="tune")
    parser.add_argument("--only", default="*", help="shell pattern of model names")
    parser.add_argument("--table", action="store_true", help="only write docs/detection.md")
    parser.add_argument("--again", action="store_true", help="also what is finished")
    parser.add_argument("--seed", type=int, default=0, help="of the audits; the images stay the same")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = strangers() if options.split == STRANGERS else zoo_models(options.split)
    folder = RESULTS / (f"{options.split}-seed-{options.seed}" if options.seed else options.split)
    for model in [] if options.table else models:
        if not fnmatch.fnmatch(model.name, options.only):
            continue
        result = folder / f"{model.name}.json"
        if result.exists() and not options.again:
            continue
        images = load(model.images, split="test", limit=IMAGES, channels=model.channels or None, rng=Rng(0))
        judged = run(model, images, options.seed, copy=True if options.split == "null" else None)
        write_atomically(result, judged.to_json().encode())
        print(f"{judged.model} {judged.family}", file=sys.stderr, flush=True)
    for part, written in (("tune", tables), ("test", tables), (STRANGERS, one_by_one)):
        done = finished(part)
        if done:
            put(PAGE, part, written(done))
    found, of_pairs = finished("test"), [one for one in scanned(PAIRS) if one.split == "test"]
    known = coverage(found, known_with_pairs(found, of_pairs))
    write_atomically(ROOT / "src" / "mantrap" / "detect" / COVERAGE_FILE, known.to_json().encode())
    for part in ("tune", "test"):
        asked, clean = ([d.judged for d in finished(name)] for name in (part, "null"))
        put(PAGE, f"{part} references", referenced(asked, clean))
        put(PAGE, f"{part} copies", beside_copies(asked))
    others = [finished(p.name) for p in sorted(RESULTS.glob(f"{AGAIN}-seed-*"))]
    if others:
        put(PAGE, "seeds", agreement([finished(AGAIN), *others]))
    return 0


def finished(part: str) -> list[Decided]:
    """All models of a part that are measured, with the verdict that follows."""
    paths = sorted((RESULTS / part).glob("*.json"))
    return [decided(Judged.from_json(p.read_text(encoding="utf-8"))) for p in paths]


if __name__ == "__main__":
    raise SystemExit(main())
