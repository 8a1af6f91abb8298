"""How fast detectors are: every mode in one run, growth with labels, image size and threads, and memory.

    python benchmarks/detection_speed.py          what is not measured, then the table into docs/detection.md
    python benchmarks/detection_speed.py --again  everything

Nothing else should run meanwhile. Measured lines are kept in ``benchmarks/results/speed``. Needs two models of
benchmarks/parity.py (``mnist-badnets-s0`` and ``gtsrb-badnets-paper-s0``).
"""

import argparse
import fnmatch
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from parity_places import ROOT, put

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.data import load, split
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS, PairScan
from mantrap.models import Preprocessing, open_model
from mantrap.ops.prepare import computes_bfloat16
from mantrap.records.files import write_atomically
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.train import new_classifier

PAGE = ROOT / "docs" / "detection.md"
RESULTS = ROOT / "benchmarks" / "results" / "speed"
LONG = 20.0
"""Seconds from which one process is enough."""
PAPER = "neural_cleanse_paper"
DEFAULT = "all six"
"""The detectors that an audit runs where none is named, one after the other."""
THREE = "patches, margins, last layer"
"""Those without what looks for faint, warping and all-to-all triggers."""
TOGETHER = {DEFAULT: DEFAULT_DETECTORS, THREE: ("neural_cleanse", "mm_bd", "last_layer")}
SINGLE = "neural_cleanse(precision='float32')"
WHOLE, LISTED = "neural_cleanse(many=1000000)", "neural_cleanse(low_cost=True)"
"""Many labels searched to the end, all of them, and chosen as the paper does."""
BESIDE = {"a copy": ("copy",), "a control": ("control",), "pairs of classes": (PairScan.name, "copy")}
"""What audits do beside the default detectors, and the stages of a record that it takes; other stages do not count."""
IMAGES = 600
_TITLES = ("model", "detector", "threads", "CPU s", "wall s", "images forward", "images backward", "peak MB")


@dataclass(frozen=True)
class Work:
    """One thing to measure: a parity cell and its data, or a network with random weights."""

    title: str
    spec: str
    threads: int = 1
    cell: str = ""
    data: str = ""
    arch: str = ""
    shape: tuple[int, int, int] = (3, 32, 32)
    labels: int = 10


def works() -> list[Work]:
    """All lines of the table."""
    digits = Work("MNIST CNN, 10 labels", DEFAULT, cell="mnist-badnets-s0", data="mnist")
    signs = Work("GTSRB CNN, 43 labels", DEFAULT, cell="gtsrb-badnets-paper-s0", data="gtsrb")
    return [
        *(replace(digits, spec=spec) for spec in (PAPER, DEFAULT, THREE, *DEFAULT_DETECTORS, SINGLE)),
        replace(digits, threads=2),
        signs,
        *(
            Work(f"MNIST CNN, {k:,} labels", DEFAULT, arch="mnist_cnn", shape=(1, 28, 28), labels=k)
            for k in (2, 43, 200, 1283)
        ),
        *(
            Work("MNIST CNN, 1,283 labels", spec, arch="mnist_cnn", shape=(1, 28, 28), labels=1283)
            for spec in ("neural_cleanse", LISTED, WHOLE)
        ),
        *(replace(one, spec=spec) for one in (digits, signs) for spec in BESIDE),
        Work("PreAct-ResNet18, 32x32, 10 labels", DEFAULT, arch="preact_resnet18", threads=2),
        *(
            Work(f"8-layer ResNet, {side}x{side}, 10 labels", DEFAULT, arch="resnet8", shape=(3, side, side))
            for side in (32, 64, 128, 224)
        ),
    ]


def measure(work: Work) -> dict[str, float]:
    """What one piece of work takes, in this process."""
    torch.set_num_threads(work.threads)
    if work.cell:
        images = load(work.data, split="test", limit=IMAGES, rng=Rng(0))
        path = ROOT / "runs" / "parity" / work.cell / "model.safetensors"
        model = open_model(path, images_shape=images.shape)
    else:
        model, images = _random(work)
    if work.spec in BESIDE:
        return _beside(work.spec, model, images)
    parts = split(images, {"scan": 2 / 3, "heldout": 1 / 3}, rng=Rng(0).child("split"))
    detectors = [DETECTORS.create(spec) for spec in TOGETHER.get(work.spec, (work.spec,))]
    cpu, wall = time.process_time(), time.perf_counter()
    found = [d.detect(model, parts["scan"], heldout=parts["heldout"], rng=Rng(0)).cost for d in detectors]
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "forward": sum(cost.forward for cost in found),
        "backward": sum(cost.backward for cost in found),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _beside(spec: str, model: Classifier, images: ImageSet) -> dict[str, float]:
    """What some stages of an audit take that does what it does not do of itself."""
    pairs = BESIDE[spec][0] == PairScan.name
    detectors = (PairScan(),) if pairs else tuple(map(DETECTORS.create, DEFAULT_DETECTORS))
    plan = Plan(detectors=detectors, copy=pairs or spec == "a copy", control=spec == "a control")
    record = audit(model, images, plan=plan, source=Source(spec, ""))
    times = [one for one in record.volatile.stages if one.stage in BESIDE[spec]]
    costs = [one for one in record.cost if one.stage in BESIDE[spec]]
    return {
        "cpu": sum(one.cpu_seconds for one in times),
        "wall": sum(one.wall_seconds for one in times),
        "forward": sum(one.forward for one in costs),
        "backward": sum(one.backward for one in costs),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _random(work: Work) -> tuple[Classifier, ImageSet]:
    """A network with random weights, and noise for it."""
    pixels = torch.randint(0, 256, (IMAGES, *work.shape), dtype=torch.uint8, generator=Rng(0).torch())
    images = ImageSet.from_array(pixels, torch.arange(IMAGES) % min(work.labels, IMAGES))
    arch = f"{work.arch}(num_classes={work.labels})"
    return new_classifier(arch, images, declared=Preprocessing(), rng=Rng(0)), images


def measured_apart(work: Work) -> dict[str, float]:
    """The same, each time in a process of its own: the median of three, or one that takes long."""
    found: list[dict[str, float]] = []
    while not found or (found[0]["wall"] < LONG and len(found) < 3):
        words = [sys.executable, __file__, "--one", json.dumps(asdict(work))]
        found.append(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))  # noqa: S603
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def table(lines: Sequence[tuple[Work, dict[str, float]]]) -> str:
    """All lines, and how many times as long the paper's mode takes."""
    rows = [
        f"| {w.title} | `{w.spec}` | {w.threads} | {m['cpu']:.2f} | {m['wall']:.2f} | {m['forward']:,.0f} | "
        f"{m['backward']:,.0f} | {m['peak']:,.0f} |"
        for w, m in lines
    ]
    machine = f"{platform.machine()}, {'with' if computes_bfloat16(torch.device('cpu')) else 'without'} bfloat16"
    said = [f"torch {torch.__version__} on {platform.system()} {machine}."]
    seconds = {w.spec: m["cpu"] for w, m in reversed(lines) if w.cell == "mnist-badnets-s0" and w.threads == 1}
    if PAPER in seconds:
        share = seconds[PAPER] / seconds[DEFAULT]
        said.append(f"On the MNIST CNN the paper's mode takes {share:.0f} times the CPU time of all six together.")
    return "\n".join([f"| {' | '.join(_TITLES)} |", "|" + "---|" * len(_TITLES), *rows, "", " ".join(said)])


def main() -> int:
    """Measure all, or one where this is a process for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="also measure what is measured")
    parser.add_argument(
        "--only", default="*", help="lines whose model and detector fit a shell pattern; others as measured"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Work(**json.loads(options.one)))))
        return 0
    lines = []
    for work in works():
        path = RESULTS / f"{work.title}, {work.spec}, {work.threads}.json".replace(" ", "-")
        wanted = fnmatch.fnmatch(f"{work.title}, {work.spec}", options.only)
        if wanted and (options.again or not path.exists()):
            write_atomically(path, json.dumps(measured_apart(work), indent=1).encode())
        if not path.exists():
            continue
        lines.append((work, json.loads(path.read_text(encoding="utf-8"))))
        print(f"{work.title}, {work.spec}: {lines[-1][1]['cpu']:.2f} s", file=sys.stderr, flush=True)
    put(PAGE, "speed", table(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
