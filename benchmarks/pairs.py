"""Scan pairs of classes in models with a source-specific backdoor and in clean ones, into docs/detection.md.

    python benchmarks/pairs.py                    what is not finished of the tune split, then the table
    python benchmarks/pairs.py --split test       the same for the test split
    python benchmarks/pairs.py --table            only write the table

Twelve source-specific models and nine for the test split are made first, see ``pairs_models.py``; the clean ones are
those of the zoo (``mantrap zoo build``). One file for each model in ``benchmarks/results/detection/pairs``; resumable.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from detection import PAGE, RESULTS, zoo_models
from detection_table import IMAGES, area, share, table
from pairs_models import build
from parity_places import ROOT, put

from mantrap.core import Rng, Spec
from mantrap.data import load
from mantrap.detect import DETECTORS
from mantrap.models import open_model
from mantrap.records import PairRecord, Rate
from mantrap.records.base import Record
from mantrap.records.files import write_atomically
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.verdict import CHANCE_BELOW, NOTICED_BELOW, PAIR_SHARE, PAIR_WORKS_FROM
from mantrap.workflow.zoo_plan import CLEAN, Split

FOLDER = RESULTS / "pairs"
SPLITS: tuple[Split, ...] = ("tune", "test")


class Scanned(Record):
    """What the scan of pairs says of one model; ``sources`` are those of its backdoor, none for a clean one."""

    model: str
    split: str
    network: str
    classes: int
    sources: tuple[int, ...]
    target: int | None
    agreement: Rate | None
    pair: PairRecord | None
    cpu_seconds: float

    @property
    def works(self) -> bool:
        """Whether the patch of the first pair works."""
        return self.pair is not None and self.pair.success is not None and self.pair.success.low >= PAIR_WORKS_FROM

    @property
    def chance(self) -> float:
        """Of a model without a backdoor to look as suspicious."""
        return 1.0 if self.pair is None else min(1.0, self.pair.standings[0].chance / PAIR_SHARE)

    @property
    def right(self) -> bool:
        """Whether the first pair is one of the backdoor."""
        return self.pair is not None and self.pair.label in self.sources and self.pair.to == self.target


def todo(split: Split) -> Iterator[tuple[str, str, str, str, Path]]:
    """Name, network, images, attack and file of each model that is not finished."""
    models = [(m.plan.name, m.plan.arch, m.plan.images, m.plan.attack, path) for m, path in build(split)]
    folder = ROOT / "runs" / "zoo" / split
    clean = [m for m in zoo_models(split) if m.family == CLEAN]
    models += [(m.name, m.arch, m.images, "", folder / f"{m.name}.safetensors") for m in clean]
    yield from (one for one in models if not (FOLDER / f"{one[0]}.json").exists())


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


def rows(found: Sequence[Scanned]) -> str:
    """A row for each split and kind of model that can be compared."""
    lines = []
    for split in SPLITS:
        here = [s for s in found if s.split == split]
        for few in (False, True):
            some = [s for s in here if (s.classes < 10) is few and s.pair is not None]
            infected, clean = ([s for s in some if bool(s.sources) is wanted] for wanted in (True, False))
            if not infected or not clean:
                continue
            strong, noticed = (
                [[s for s in group if s.works and s.chance < CHANCE_BELOW] for group in (infected, clean)],
                [[s for s in group if s.chance < NOTICED_BELOW] for group in (infected, clean)],
            )
            lines.append(
                (
                    f"{split}, {'4 to 9' if few else '10 and more'} classes",
                    len(infected),
                    share(len(strong[0]), len(infected)),
                    share(len(noticed[0]), len(infected)),
                    sum(s.right for s in strong[0]),
                    len(clean),
                    share(len(strong[1]), len(clean)),
                    share(len(noticed[1]), len(clean)),
                    area([s.chance for s in infected], [s.chance for s in clean]),
                    f"{sum(s.cpu_seconds for s in some) / len(some):.0f}",
                )
            )
    titles = (
        "models",
        "source-specific",
        "SUSPICIOUS",
        "or noticed",
        "pair right",
        "clean",
        "SUSPICIOUS",
        "or noticed",
        "area under the curve",
        "CPU s",
    )
    return "\n".join(table(titles, lines))


def main() -> int:
    """Run what is not finished, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, default="tune")
    parser.add_argument("--table", action="store_true", help="only write docs/detection.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for one in () if options.table else todo(options.split):
        made = run(options.split, *one)
        write_atomically(FOLDER / f"{made.model}.json", made.to_json().encode())
        print(
            made.model,
            made.sources,
            made.target,
            made.pair and (made.pair.label, made.pair.to),
            made.chance,
            file=sys.stderr,
        )
    found = [Scanned.from_json(p.read_text(encoding="utf-8")) for p in sorted(FOLDER.glob("*.json"))]
    put(PAGE, "pairs", rows(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
