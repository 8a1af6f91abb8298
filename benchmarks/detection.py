"""Run the detectors on a zoo, and write what they found into docs/detection.md.

One command, resumable at any point. The zoo is built first, with ``mantrap zoo build``; what a detector finds in one
model is kept in ``benchmarks/results/detection``, one file for each model and detector.

    python benchmarks/detection.py                        what is not finished of the tune split, then the table
    python benchmarks/detection.py --split test           the same for the test split
    python benchmarks/detection.py --only 'tune-00*'      some models (a shell pattern)
    python benchmarks/detection.py --table                only write the tables from what is there
"""

import argparse
import fnmatch
import sys
import time
from pathlib import Path

import torch
from detection_table import Judged, table
from parity_places import ROOT, put

from mantrap.core import Detector, ImageSet, Rng
from mantrap.data import load, split
from mantrap.detect import DETECTORS
from mantrap.models import open_model
from mantrap.records import ZooModel
from mantrap.records.files import write_atomically

PAGE = ROOT / "docs" / "detection.md"
RESULTS = ROOT / "benchmarks" / "results" / "detection"
SPECS = ("neural_cleanse", "mm_bd")
IMAGES, SCAN = 600, 2 / 3
"""Test images that a detector gets, and the share of them that it searches with."""


def run(zoo: Path, model: ZooModel, spec: str, images: ImageSet) -> Judged:
    """What a detector says of one model."""
    plan, rng = model.plan, Rng(0)
    parts = split(images, {"scan": SCAN, "heldout": 1 - SCAN}, rng=rng.child("split"))
    classifier = open_model(zoo / f"{plan.name}.safetensors", images_shape=images.shape)
    detector: Detector = DETECTORS.create(spec)
    began = time.process_time()
    found = detector.detect(classifier, parts["scan"], heldout=parts["heldout"], rng=rng.child("detect"))
    seconds = time.process_time() - began
    scores = found.indices
    return Judged(
        model=plan.name,
        family=plan.family,
        arch=plan.arch,
        classes=classifier.num_classes,
        targets=tuple(m.target for m in model.measures if m.target is not None),
        detector=found.detector,
        p_value=found.p_value,
        first=max(scores, key=lambda t: scores[t]) if scores else None,
        cpu_seconds=seconds,
    )


def main() -> int:
    """Run what is not finished, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("tune", "test"), default="tune")
    parser.add_argument("--only", default="*", help="shell pattern of model names")
    parser.add_argument("--table", action="store_true", help="only write docs/detection.md")
    parser.add_argument("--again", action="store_true", help="also what is finished")
    options = parser.parse_args()
    torch.set_num_threads(1)
    zoo = ROOT / "runs" / "zoo" / options.split
    sets: dict[str, ImageSet] = {}
    for path in [] if options.table else sorted(zoo.glob("*.zoo.json")):
        model = ZooModel.from_json(path.read_text(encoding="utf-8"))
        if not model.works or not fnmatch.fnmatch(model.plan.name, options.only):
            continue
        for spec in SPECS:
            result = RESULTS / f"{model.plan.name}-{spec}.json"
            if result.exists() and not options.again:
                continue
            name = model.plan.images
            if name not in sets:
                sets = {name: load(name, split="test", limit=IMAGES, rng=Rng(0))}
            judged = run(zoo, model, spec, sets[name])
            write_atomically(result, judged.to_json().encode())
            print(f"{judged.model} {judged.family} {spec}: p {judged.p_value}", file=sys.stderr, flush=True)
    for part in ("tune", "test"):
        done = [Judged.from_json(p.read_text(encoding="utf-8")) for p in sorted(RESULTS.glob(f"{part}-*.json"))]
        if done:
            put(PAGE, part, table(done))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
