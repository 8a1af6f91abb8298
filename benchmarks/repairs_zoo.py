"""What repairs leave of backdoors of several kinds, into docs/repair.md.

    python benchmarks/repairs_zoo.py                    what is not finished, then the table
    python benchmarks/repairs_zoo.py --only 'tune-0*'   some models (a shell pattern)
    python benchmarks/repairs_zoo.py --repair auto      one repair, of all backdoored models with a single target
    python benchmarks/repairs_zoo.py --table            only write the table

The models are those of the parity suite (``benchmarks/parity.py``) and of the tune split (``mantrap zoo build``). Every
repair gets the same 500 clean training images with their labels; accuracy and success are those on 1,000 test images.
For unlearning a patch is searched at the planted label, and where none is found there is nothing to unlearn. One file
for each model and repair in ``benchmarks/results/repairs/zoo``; resumable.
"""

import argparse
import fnmatch
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean

import safetensors.torch
import torch
from parity_detection import RUNS
from parity_places import ROOT, put
from parity_repairs_table import Arm

from mantrap.core import SILENT, Classifier, ImageSet, ReversedTrigger, Rng
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.errors import MantrapError
from mantrap.measure import measure_attack
from mantrap.models import open_model
from mantrap.records import Record, ZooModel
from mantrap.records.base import SCHEMA_VERSION
from mantrap.records.files import write_atomically
from mantrap.repair import REPAIRS
from mantrap.training import evaluate
from mantrap.workflow.parting import parted
from mantrap.workflow.sharpening import THOROUGH

PAGE = ROOT / "docs" / "repair.md"
RESULTS = ROOT / "benchmarks" / "results" / "repairs" / "zoo"
ZOO = ROOT / "runs" / "zoo" / "tune"
IMAGES, TESTED = 500, 1000
PARITY = {"mnist-badnets-s0": "mnist", "gtsrb-badnets-paper-s0": "gtsrb"}
"""Models of the parity suite, and their images."""
MODELS = (
    "mnist-badnets-s0",
    *(f"tune-{number:03}" for number in (62, 24, 56, 32, 28, 64, 6, 60)),
    "gtsrb-badnets-paper-s0",
    *(f"tune-{number:03}" for number in (48, 7, 14, 22)),
)
"""Patch, blended, Trojan, warped, SIG and input-aware ones, those that are soon done first."""
FAMILIES = ("patch", "blended", "trojan", "warped", "SIG", "input-aware", "invisible", "dynamic")
WIDE = ("unlearning", "auto")
"""Repairs of which a second table says what they come to by family, over all models that they were tried on."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A backdoored model, and where its images are."""

    name: str
    kind: str
    images: str
    weights: Path
    truth: Path


class Repaired(Record):
    """One model after one repair; ``after`` is missing where it could not be repaired, and ``failure`` says why."""

    schema_version: str = SCHEMA_VERSION
    kind: str = "zoo_repair"
    model: str
    of: str
    network: str
    repair: str
    before: Arm
    after: Arm | None = None
    failure: str = ""
    notes: tuple[str, ...] = ()
    cpu_seconds: float = 0.0


def models() -> Iterator[Model]:
    """All models: those of the first table, then all others of the tune split that have one target."""
    others = sorted(path.name.partition(".")[0] for path in ZOO.glob("*.truth.json"))
    for name in dict.fromkeys((*MODELS, *others)):
        folder = RUNS / name
        if name in PARITY:
            weights, truth = folder / "model.safetensors", folder / "truth.json"
            yield Model(name=name, kind="patch", images=PARITY[name], weights=weights, truth=truth)
            continue
        found = ZooModel.from_json((ZOO / f"{name}.zoo.json").read_text(encoding="utf-8"))
        plan = found.plan
        if not found.works or len(found.measures) != 1 or found.measures[0].target is None:
            continue
        kind = "SIG" if plan.attack.startswith("sig(") else plan.family.replace("_", "-")
        weights, truth = ZOO / f"{name}.safetensors", ZOO / f"{name}.truth.json"
        yield Model(name=name, kind=kind, images=plan.images, weights=weights, truth=truth)


def run(model: Model, repair: str) -> Repaired:
    """Repair one model in one way, and measure it before and after."""
    scan = load(model.images, split="train", limit=IMAGES, rng=Rng(5))
    test = load(model.images, split="test", limit=TESTED, rng=Rng(6))
    classifier = open_model(model.weights, images_shape=test.shape)
    truth = GroundTruth.from_json(model.truth.read_text(encoding="utf-8"))
    tensors = model.truth.with_suffix(".safetensors")
    learned = safetensors.torch.load_file(tensors) if tensors.exists() else {}

    def measured(one: Classifier) -> Arm:
        return Arm(accuracy=evaluate(one, test), success=measure_attack(one, test, truth, tensors=learned)[0].success)

    notes: tuple[str, ...] = ()
    failure, after = "", None
    begun = time.process_time()
    try:
        who = REPAIRS.create(repair)
        triggers = _recovered(classifier, scan, truth) if who.needs_triggers else ()
        made = who.repair(classifier, scan, triggers=triggers, rng=Rng(0))
    except MantrapError as error:
        seconds, failure = time.process_time() - begun, str(error)
    else:
        seconds, notes, after = time.process_time() - begun, made.notes, measured(made.model)
    return Repaired(
        model=model.name,
        of=model.kind,
        network=classifier.arch,
        repair=repair,
        before=measured(classifier),
        after=after,
        failure=failure,
        notes=notes,
        cpu_seconds=seconds,
    )


def _recovered(model: Classifier, images: ImageSet, truth: GroundTruth) -> tuple[ReversedTrigger, ...]:
    """The patch that a long search finds for the planted label, if it finds one."""
    target = truth.backdoors[0].target
    assert target is not None
    part, heldout = parted(images, Rng(0))
    found = THOROUGH.detect(model, part, heldout=heldout, labels=(target,), rng=Rng(0), progress=SILENT)
    trigger = found.trigger_for(target)
    return () if trigger is None else (trigger,)


def table(results: Mapping[tuple[str, str], Repaired]) -> str:
    """A row for each model: accuracy and attack success, in percent, before and after each repair that was tried."""
    names = [kind.name for kind in REPAIRS if any(repair == kind.name for _, repair in results)]
    lines = [f"| model | before | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    for model, cells in groupby(results.values(), lambda cell: cell.model):
        of = {cell.repair: cell for cell in cells}
        first = next(iter(of.values()))
        title = f"{first.of}, {first.network.partition('(')[0]} (`{model}`)"
        lines.append(f"| {title} | {_arm(first.before)} | {' | '.join(_cell(of.get(name)) for name in names)} |")
    seconds = [
        [cell.cpu_seconds for (_, repair), cell in results.items() if repair == name and cell.after] for name in names
    ]
    spans = [f"{min(some):.0f} to {max(some):.0f}" if some else "-" for some in seconds]
    lines.append(f"| CPU seconds | | {' | '.join(spans)} |")
    return "\n".join(lines)


def by_family(results: Mapping[tuple[str, str], Repaired]) -> str:
    """A row for each family: mean success before and after, and the mean change of accuracy, over models."""
    titles = ("family", *(part for name in WIDE for part in (f"{name}: models", "success, mean (most)", "accuracy")))
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for family in FAMILIES:
        row = [family]
        for name in WIDE:
            some = [cell for (_, repair), cell in results.items() if repair == name and cell.of == family]
            after = [(cell.before, cell.after) for cell in some if cell.after is not None]
            left = [100 * one.success.value for _, one in after]
            gained = [100 * (one.accuracy.value - before.accuracy.value) for before, one in after]
            shown = (f"{mean(left):.1f} % ({max(left):.1f})", f"{mean(gained):+.1f}") if after else ("-", "-")
            row += [f"{len(after)} of {len(some)}", *shown]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _cell(cell: Repaired | None) -> str:
    if cell is None:
        return "not run"
    return _arm(cell.after) if cell.after else "no trigger" if "trigger" in cell.failure else "failed"


def _arm(arm: Arm) -> str:
    return f"{100 * arm.accuracy.value:.1f} / {100 * arm.success.value:.1f}"


def main() -> int:
    """Run what is not finished, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="names of models, a shell pattern")
    parser.add_argument("--repair", help="only this one, and not only of the models of the first table")
    parser.add_argument("--table", action="store_true", help="only write docs/repair.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[tuple[str, str], Repaired] = {}
    for model in models():
        for kind in REPAIRS:
            path = RESULTS / f"{model.name}-{kind.name}.json"
            wanted = model.name in MODELS if options.repair is None else kind.name == options.repair
            if wanted and not path.exists() and not options.table and fnmatch.fnmatch(model.name, options.only):
                made = run(model, kind.name)
                write_atomically(path, made.to_json().encode())
                print(
                    model.name, kind.name, _arm(made.before), _cell(made), f"{made.cpu_seconds:.1f} s", file=sys.stderr
                )
            if path.exists():
                results[model.name, kind.name] = Repaired.from_json(path.read_text(encoding="utf-8"))
    put(PAGE, "repairs", table({key: cell for key, cell in results.items() if cell.model in MODELS}))
    put(PAGE, "repairs-by-family", by_family(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
