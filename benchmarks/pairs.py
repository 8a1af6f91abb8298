"""Scan pairs of classes in models with a source-specific backdoor and in clean ones, into docs/detection.md.

    python benchmarks/pairs.py                    what is not finished of the tune split, then the table
    python benchmarks/pairs.py --split test       the same for the test split
    python benchmarks/pairs.py --table            only write the table

Twelve source-specific models and nine for the test split are made first, see ``pairs_models.py``; the clean ones are
those of the zoo (``mantrap zoo build``). One file for each model in ``benchmarks/results/detection/pairs``; resumable.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from detection import PAGE, PAIRS, zoo_models
from detection_table import CLEAN, IMAGES
from pairs_models import build
from pairs_table import SPLITS, Scanned, rows, scanned
from parity_places import ROOT, put

from mantrap.core import Rng, Spec
from mantrap.data import load
from mantrap.detect import DETECTORS
from mantrap.models import open_model
from mantrap.records.files import write_atomically
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.zoo_plan import Split


def todo(split: Split) -> Iterator[tuple[str, str, str, str, Path]]:
    """Name, network, images, attack and file of each model that is not finished."""
    models = [(m.plan.name, m.plan.arch, m.plan.images, m.plan.attack, path) for m, path in build(split)]
    folder = ROOT / "runs" / "zoo" / split
    clean = [m for m in zoo_models(split) if m.family == CLEAN]
    models += [(m.name, m.arch, m.images, "", folder / f"{m.name}.safetensors") for m in clean]
    yield from (one for one in models if not (PAIRS / f"{one[0]}.json").exists())


def run(split: str, name: str, network: str, source: str, attack: str, path: Path) -> Scanned:
    """Scan the pairs of one model, and of a copy of it."""
    images = load(source, split="test", limit=IMAGES, rng=Rng(0))
    model = open_model(path, images_shape=images.shape)
    plan = Plan(detectors=(DETECTORS.create("pair_scan"),), control=False)
    record = audit(model, images, plan=plan, source=Source(name, ""))
    options = Spec.parse(attack).options if attack else {}
    return Scanned(
        model=name,
        split=split,
        network=network,
        classes=model.num_classes,
        sources=tuple(options.get("sources", ())),
        target=options.get("target"),
        agreement=None if record.copy is None else record.copy.agreement,
        pair=record.pair,
        cpu_seconds=sum(s.cpu_seconds for s in record.volatile.stages),
    )


def main() -> int:
    """Run what is not finished, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, default="tune")
    parser.add_argument("--table", action="store_true", help="only write docs/detection.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for one in () if options.table else todo(options.split):
        made = run(options.split, *one)
        write_atomically(PAIRS / f"{made.model}.json", made.to_json().encode())
        print(
            made.model,
            made.sources,
            made.target,
            made.pair and (made.pair.label, made.pair.to),
            made.chance,
            file=sys.stderr,
        )
    put(PAGE, "pairs", rows(scanned(PAIRS)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
