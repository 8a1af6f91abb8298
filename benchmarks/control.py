"""Plant a control in models of a zoo, see whether the search finds it, and write that into docs/detection.md.

    python benchmarks/control.py                       clean models of the tune split, and those of strangers
    python benchmarks/control.py --split test          clean models of the test split
    python benchmarks/control.py --table               only write the table

One file for each model in ``benchmarks/results/detection/controls``; resumable.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence

import torch
from detection import PAGE, RESULTS, Model, strangers, zoo_models
from detection_table import IMAGES, table
from parity_places import put

from mantrap.core import Rng
from mantrap.data import load
from mantrap.detect import DETECTORS
from mantrap.records import ControlRecord
from mantrap.records.base import Record
from mantrap.records.files import write_atomically
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source

FOLDER = RESULTS / "controls"
CLEAN, STRANGERS = "clean", "strangers"


class Controlled(Record):
    """What came of a control in one model; ``control`` is ``None`` where none could be planted at all."""

    model: str
    part: str
    network: str
    classes: int
    control: ControlRecord | None
    cpu_seconds: float


def run(part: str, model: Model) -> Controlled:
    """Plant a control in one model, whatever its verdict is."""
    images = load(model.images, split="test", limit=IMAGES, channels=model.channels or None, rng=Rng(0))
    classifier = model.open(images)
    plan = Plan(detectors=(DETECTORS.create("neural_cleanse"),), control=True, copy=False)
    record = audit(classifier, images, plan=plan, source=Source(model.name, ""))
    seconds = {stage.stage: stage.cpu_seconds for stage in record.volatile.stages}
    return Controlled(
        model=model.name,
        part=part,
        network=model.arch,
        classes=classifier.num_classes,
        control=record.control,
        cpu_seconds=seconds.get("control", 0.0),
    )


def _row(kind: str, some: Sequence[Controlled]) -> list[object]:
    """Controls in models of one kind."""
    planted = [c.control for c in some if c.control is not None and c.control.chance is not None]
    chances = sorted(c.chance for c in planted if c.chance is not None)
    return [
        kind,
        len(some),
        len(planted),
        sum(c.found for c in planted),
        *(f"{100 * c:.2g} %" for c in (statistics.median(chances), chances[-1])),
        f"{100 * statistics.median(c.agreement.value for c in planted):.0f} %",
        f"{statistics.median(c.cpu_seconds for c in some):.1f}",
    ]


def _kind(one: Controlled) -> str:
    return one.part if one.part == STRANGERS else f"{one.part}, {one.network.partition('(')[0]}"


def rows(found: Sequence[Controlled]) -> str:
    """A row for each part and network; strangers together."""
    titles = ("which", "models", "planted", "found", "chance, median", "chance, largest", "answers as before", "CPU s")
    kinds = sorted(set(map(_kind, found)))
    return "\n".join(table(titles, [_row(kind, [c for c in found if _kind(c) == kind]) for kind in kinds]))


def main() -> int:
    """Run what is not finished, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("tune", "test"), default="tune")
    parser.add_argument("--table", action="store_true", help="only write docs/detection.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    own = [(options.split, m) for m in zoo_models(options.split) if m.family == CLEAN]
    others = [(STRANGERS, m) for m in strangers()] if options.split == "tune" else []
    for part, model in [] if options.table else [*own, *others]:
        result = FOLDER / f"{model.name}.json"
        if not result.exists():
            made = run(part, model)
            write_atomically(result, made.to_json().encode())
            print(f"{model.name} {made.control}", file=sys.stderr, flush=True)
    found = [Controlled.from_json(p.read_text(encoding="utf-8")) for p in sorted(FOLDER.glob("*.json"))]
    put(PAGE, "controls", rows(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
