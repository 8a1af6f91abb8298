"""How well screens part poisoned training images from clean ones, and what they flag: the tables of docs/screen.md.

A row is an attack on a task, a cell one seed of it: a training set is poisoned, a model is trained on it as anybody
would, and every screen looks at the two. Finished cells lie in ``benchmarks/results/screens``, models in
``runs/screens``; a run goes on where it was stopped.

    python benchmarks/screens.py                  what is not finished, then the table
    python benchmarks/screens.py --only 'gtsrb*'  some cells (a shell pattern)
    python benchmarks/screens.py --table          only write the table from what is there
"""

import fnmatch
import sys
import time
from dataclasses import dataclass

import torch
from parity_attacks import Task
from parity_places import ROOT, asked, put
from screens_table import ScreenCell, ScreenFigures, table

from mantrap.core import Classifier, ImageSet, Rng, Spec, build
from mantrap.core.attack import Poisoned
from mantrap.measure import measure_attack
from mantrap.models import Preprocessing, open_model
from mantrap.ops.roc import area_under
from mantrap.ops.scores import accuracy
from mantrap.poison import ATTACKS, Poison, plan
from mantrap.records.files import write_atomically
from mantrap.screen import SCREENS
from mantrap.training import Recipe
from mantrap.workflow.train import new_classifier, train

RESULTS = ROOT / "benchmarks" / "results" / "screens"
RUNS = ROOT / "runs" / "screens"
CLEAN = 1000
"""Test images that the screens which ask for clean images get; the model's accuracy is measured on the others."""
WITHOUT, WITH = (
    ("scan", "confident_learning", "deep_knn", "activation_clustering", "spectral_signatures"),
    (
        "scan",
        "strip_screen",
    ),
)
"""Screens that are run without clean images, and with them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An attack on a task: by name, or in ``warp`` by its parts; an empty one is none.

    ``recipe`` is the task's own where nothing else is said. ``known`` says that the attacker knows the model, a clean
    one, which is trained on with the poisoned set.
    """

    name: str
    task: Task
    attack: str = ""
    warp: str = ""
    recipe: str = ""
    known: bool = False
    seeds: int = 1


@dataclass(frozen=True)
class Cell:
    """One seed of a row."""

    row: Row
    seed: int


_LONG = "recipe(epochs=30, batch_size=64, optimizer='adam(lr=0.001)')"
DIGITS = Task(
    name="mnist",
    images="mnist",
    arch="mnist_cnn",
    recipe="recipe(epochs=5, batch_size=64, optimizer='adam(lr=0.001)')",
    limit=10000,
)
PAIR = Task(
    name="mnist-pair",
    images="mnist(classes=(1, 7))",
    arch="mnist_cnn",
    recipe="recipe(epochs=5, batch_size=32, optimizer='adam(lr=0.001)')",
    limit=2000,
)
SIGNS = Task(
    name="gtsrb",
    images="gtsrb",
    arch="resnet8",
    recipe="recipe(epochs=8, batch_size=64, optimizer='adam(lr=0.003)', schedule='cosine')",
    limit=6000,
)
ROWS = (
    Row(name="mnist-clean", task=DIGITS, seeds=3),
    Row(name="mnist-badnets-5", task=DIGITS, attack="badnets(target=7, rate=0.05)", seeds=3),
    Row(name="mnist-label-flip-10", task=DIGITS, attack="label_flip(rate=0.1)", seeds=3),
    Row(name="mnist-badnets-1", task=DIGITS, attack="badnets(target=7, rate=0.01)", seeds=3),
    Row(name="mnist-blended-5", task=DIGITS, attack="blended(target=7, rate=0.05)"),
    Row(name="mnist-sig", task=DIGITS, attack="sig(target=3, kind='ramp', rate=0.3, delta=160, test_delta=230)"),
    Row(name="mnist-warp-5", task=DIGITS, warp="warp(strength=2.5)"),
    Row(name="mnist-all-to-all-10", task=DIGITS, attack="badnets(goal='all_to_all', rate=0.1)"),
    Row(name="mnist-label-flip-1-to-7", task=DIGITS, attack="label_flip(target=7, source=1, rate=0.05)"),
    Row(name="mnist-label-flip-10-30-epochs", task=DIGITS, attack="label_flip(rate=0.1)", recipe=_LONG),
    Row(
        name="mnist-pair-feature-collision",
        task=PAIR,
        attack="feature_collision(target=0, source=1)",
        recipe="recipe(epochs=5, batch_size=32, layers=('fc2',))",
        known=True,
        seeds=3,
    ),
    Row(name="gtsrb-badnets-5", task=SIGNS, attack="badnets(target=33, rate=0.05)"),
    Row(name="gtsrb-clean", task=SIGNS),
    Row(name="gtsrb-label-flip-10", task=SIGNS, attack="label_flip(rate=0.1)"),
)
CELLS = {f"{row.name}-s{seed}": Cell(row, seed) for row in ROWS for seed in range(row.seeds)}


def run(cell: Cell) -> ScreenCell:
    """Poison, train, screen."""
    row, rng = cell.row, Rng(cell.seed)
    images, test = row.task.load("train"), row.task.load("test")
    order = torch.randperm(len(test), generator=Rng(0).child("clean").torch()).tolist()
    clean, rest = test.subset(order[:CLEAN]), test.subset(order[CLEAN:])
    known = _trained(f"{row.name}-known", cell, images) if row.known else None
    poisoned = _poisoned(row, images, known, rng.child("poison"))
    data = images if poisoned is None else poisoned.data
    model = _trained(row.name, cell, data, known=known)
    bad = torch.zeros(len(data), dtype=torch.bool)
    success = None
    if poisoned is not None:
        for backdoor in poisoned.truth.backdoors:
            bad[list(backdoor.poisoned)] = True
        (measured, *_) = measure_attack(model, rest, poisoned.truth, tensors=poisoned.tensors)
        success = measured.success
    figures = {spec: _figures(spec, model, data, None, bad, rng) for spec in WITHOUT}
    figures |= {f"{spec}, clean images": _figures(spec, model, data, clean, bad, rng) for spec in WITH}
    return ScreenCell(
        name=f"{row.name}-s{cell.seed}",
        accuracy=accuracy(model, rest),
        success=success,
        images=len(data),
        poisoned=int(bad.sum()),
        screens=figures,
    )


def _poisoned(row: Row, images: ImageSet, known: Classifier | None, rng: Rng) -> Poisoned | None:
    if row.warp:
        made: Poison = plan(row.warp, "random_share(rate=0.05)", "all_to_one(target=7)")
        return made.apply(images, rng=rng)
    return ATTACKS.create(row.attack).apply(images, model=known, rng=rng) if row.attack else None  # type: ignore[union-attr]


def _trained(name: str, cell: Cell, images: ImageSet, *, known: Classifier | None = None) -> Classifier:
    """The model of a cell, or the one that was trained before."""
    task, rng = cell.row.task, Rng(cell.seed)
    path = RUNS / f"{name}-s{cell.seed}.safetensors"
    recipe = task.recipe if name.endswith("-known") else cell.row.recipe or task.recipe
    start = known or new_classifier(task.arch, images, declared=Preprocessing(), rng=rng)
    train(start, images, path, test=None, recipe=build(Recipe, Spec.parse(recipe)), rng=rng)
    return open_model(path, images_shape=images.shape)


def _figures(
    spec: str, model: Classifier, data: ImageSet, clean: ImageSet | None, bad: torch.Tensor, rng: Rng
) -> ScreenFigures:
    began = time.process_time()
    found = SCREENS.create(spec).score(model, data, clean=clean, rng=rng.child("screen"))
    return ScreenFigures(
        area=area_under(found.scores[bad], found.scores[~bad]) if bool(bad.any()) else None,
        caught=int((found.flagged & bad).sum()),
        spoilt=int((found.flagged & ~bad).sum()),
        suspects=found.suspects,
        highest=max((v for v in found.evidence.values() if v < float("inf")), default=None),
        cpu_seconds=round(time.process_time() - began, 2),
    )


def main() -> int:
    """Run cells, then write the table."""
    options = asked(__doc__, "docs/screen.md")
    torch.set_num_threads(1)
    for name, cell in CELLS.items():
        path = RESULTS / f"{name}.json"
        if options.table or path.exists() or not fnmatch.fnmatch(name, options.only):
            continue
        write_atomically(path, run(cell).to_json().encode())
        sys.stderr.write(f"{name}: done\n")
    paths = {name: RESULTS / f"{name}.json" for name in CELLS}
    results = {n: ScreenCell.from_json(p.read_text()) if p.exists() else None for n, p in paths.items()}
    page = ROOT / "docs" / "screen.md"
    if page.exists():
        put(page, "screens", table(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
