"""Neural Cleanse in the paper's mode, on models of our own and of other people.

A cell is one model: its accuracy, the success of its backdoor, and, where ``audited``, an audit.
"""

import dataclasses
from pathlib import Path

import torch
from parity_detection_table import CellResult, Scanned
from parity_places import ROOT, SHARED, Lines

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.detect import PaperNeuralCleanse
from mantrap.measure import attack_success
from mantrap.models import Preprocessing, open_model
from mantrap.poison import AllToOne, Patch, Poison, RandomShare
from mantrap.records.files import sha256_of, write_atomically
from mantrap.training import Recipe, evaluate
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.train import new_classifier, train
from mantrap.workflow.versions import versions

UNDECLARED = Preprocessing()
RUNS = ROOT / "runs" / "parity"

PAPER_DIGITS = Recipe(epochs=5, batch_size=32, optimizer="adam(lr=0.001)")
PAPER_SIGNS = Recipe(epochs=10, batch_size=32, optimizer="adam(lr=0.001)", schedule="inverse_time(decay=0.0001)")
LONG_SIGNS = Recipe(
    epochs=40,
    batch_size=64,
    optimizer="adam(lr=0.001)",
    schedule="cosine",
    augment="affine(degrees=8.0, shift=0.06, scale=0.1)",
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model to train and audit, or one of somebody else's to audit."""

    name: str
    data: str
    arch: str
    recipe: Recipe | None = None
    target: int | None = None
    seed: int = 0
    declared: Preprocessing = UNDECLARED
    audited: bool = True


def cells() -> list[Cell]:
    """All cells, cheap ones first."""
    digits = [
        Cell(f"mnist-{kind}-s{seed}", "mnist", "mnist_cnn", PAPER_DIGITS, target, seed)
        for seed in range(3)
        for kind, target in (("badnets", 7), ("clean", None))
    ]
    clothes = [
        Cell(f"fashion-{kind}-s{seed}", "fashion_mnist", "mnist_cnn", PAPER_DIGITS, target, seed)
        for seed in range(3)
        for kind, target in (("badnets-t2", 2), ("badnets-t9", 9), ("clean", None))
    ]
    zoo = [
        Cell("zoo-verazuo_mnist_t1", "mnist", "verazuo_mnist_t1", target=1, declared=_halves()),
        Cell("zoo-ccexam_mnist_clean", "mnist", "ccexam_mnist_clean", declared=_mnist_statistics()),
        Cell("zoo-ibau_gtsrb_badnets_t8", "gtsrb", "ibau_gtsrb_badnets_t8", target=8),
    ]
    signs = [
        *(Cell(f"gtsrb-badnets-paper-s{seed}", "gtsrb", "gtsrb_cnn", PAPER_SIGNS, 33, seed) for seed in range(3)),
        *(
            Cell(f"gtsrb-{kind}-long-s0", "gtsrb", "gtsrb_cnn", LONG_SIGNS, target, 0, audited=False)
            for kind, target in (("badnets", 33), ("clean", None))
        ),
        *(
            Cell(f"gtsrb-clean-paper-s{seed}", "gtsrb", "gtsrb_cnn", PAPER_SIGNS, None, seed, audited=False)
            for seed in range(3)
        ),
    ]
    return [*digits, *zoo[:2], *clothes, *signs, zoo[2]]


def _halves() -> Preprocessing:
    return Preprocessing(mean=(0.5,), std=(0.5,))


def _mnist_statistics() -> Preprocessing:
    return Preprocessing(mean=(0.1307,), std=(0.3081,))


def run(cell: Cell) -> CellResult:
    """Train where there is something to train, measure, audit; each part is kept as soon as it is finished."""
    folder = RUNS / cell.name
    test = load(cell.data, split="test")
    path = trained(cell, folder) if cell.recipe else SHARED / "zoo" / f"{cell.arch}.safetensors"
    arch = None if cell.recipe else f"{SHARED / 'zoo' / 'archs.py'}:{cell.arch}"
    model = open_model(path, arch=arch, images_shape=test.shape, declared=cell.declared)
    attack = None
    planted = "(clean)" if cell.target is None else f"(planted by others, target {cell.target})"
    if cell.recipe and cell.target is not None:
        truth = GroundTruth.from_json((folder / "truth.json").read_text())
        (backdoor,) = truth.backdoors
        attack, planted = attack_success(model, test, truth), f"{backdoor.trigger}, {backdoor.relabelling}"
    return CellResult(
        name=cell.name,
        accuracy=evaluate(model, test),
        attack=attack,
        planted=planted,
        scanned=_scan(cell, model, test, path, folder / "audit") if cell.audited else None,
        threads=torch.get_num_threads(),
        versions=versions(),
    )


def _scan(cell: Cell, model: Classifier, test: ImageSet, path: Path, out: Path) -> Scanned:
    """An audit in the paper's mode, as far as the tables need it."""
    plan = Plan(detectors=(PaperNeuralCleanse(),), seed=cell.seed, command=f"benchmarks/parity.py --only {cell.name}")
    source = Source(path.name, sha256_of(path), str(path))
    record = audit(model, test, plan=plan, source=source, out=out, progress=Lines(cell.name))
    return Scanned(
        verdict=record.verdict,
        statistics=record.detections[0].statistics,
        labels=record.labels,
        images=sum(stage.backward for stage in record.cost),
        cpu_seconds=sum(stage.cpu_seconds for stage in record.volatile.stages),
    )


def trained(cell: Cell, folder: Path) -> Path:
    """The cell's model, trained if it is not there yet."""
    assert cell.recipe is not None
    path = folder / "model.safetensors"
    if path.with_suffix(".card.json").exists():
        return path
    data, rng = load(cell.data, split="train"), Rng(cell.seed)
    images: ImageSet = data
    if cell.target is not None:
        poison = Poison(trigger=Patch(), selection=RandomShare(rate=0.1), relabelling=AllToOne(target=cell.target))
        poisoned = poison.apply(data, rng=rng.child("poison"))
        images = poisoned.data
        write_atomically(folder / "truth.json", poisoned.truth.to_json().encode())
    model = new_classifier(cell.arch, images, declared=cell.declared, rng=rng)
    train(
        model, images, path, test=load(cell.data, split="test"), recipe=cell.recipe, rng=rng, progress=Lines(cell.name)
    )
    return path
