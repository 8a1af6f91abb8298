"""What training on a poisoned set safely comes to, beside plain training: the table of docs/screen.md.

A row is an attack on a task of ``benchmarks/screens.py``, a cell one seed of it: a training set is poisoned, and one
model is trained on it as anybody would, another one safely. Finished cells lie in ``benchmarks/results/safe_training``;
a run goes on where it was stopped.

    python benchmarks/safe_training.py                  what is not finished, then the table
    python benchmarks/safe_training.py --only 'gtsrb*'  some cells (a shell pattern)
    python benchmarks/safe_training.py --table          only write the table from what is there
"""

import fnmatch
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import mean

import torch
from parity_places import ROOT, Lines, asked, put
from screens import DIGITS, SIGNS, Row

from mantrap.core import Classifier, ImageSet, Rng, Spec, build
from mantrap.core.attack import DataAttack, Poisoned
from mantrap.measure import measure_attack
from mantrap.models import Preprocessing
from mantrap.ops.scores import accuracy
from mantrap.poison import ATTACKS
from mantrap.records import Rate, Record
from mantrap.records.base import SCHEMA_VERSION
from mantrap.records.files import write_atomically
from mantrap.repair import SAFE_TRAININGS
from mantrap.training import Recipe, fit
from mantrap.workflow.train import new_classifier

RESULTS = ROOT / "benchmarks" / "results" / "safe_training"
SAFELY = "isolation"
ROWS = (
    Row(name="mnist-badnets-5", task=DIGITS, attack="badnets(target=7, rate=0.05)", seeds=3),
    Row(name="mnist-clean", task=DIGITS, seeds=3),
    Row(name="mnist-badnets-1", task=DIGITS, attack="badnets(target=7, rate=0.01)", seeds=3),
    Row(name="mnist-badnets-10", task=DIGITS, attack="badnets(target=7, rate=0.1)"),
    Row(name="mnist-blended-10", task=DIGITS, attack="blended(target=7, rate=0.1)", seeds=3),
    Row(name="gtsrb-badnets-5", task=SIGNS, attack="badnets(target=33, rate=0.05)"),
    Row(name="gtsrb-clean", task=SIGNS),
)
CELLS = {f"{row.name}-s{seed}": (row, seed) for row in ROWS for seed in range(row.seeds)}


class Arm(Record):
    """A model's accuracy, and the success of the trigger, where there is one, on the test set; and what it took."""

    accuracy: Rate
    success: Rate | None
    cpu_seconds: float


class SafeCell(Record):
    """A training set, trained on as anybody would and safely; of ``apart`` images set apart ``caught`` are poison."""

    schema_version: str = SCHEMA_VERSION
    kind: str = "safe_training_cell"
    name: str
    safely: str
    images: int
    poisoned: int
    apart: int
    caught: int
    plain: Arm
    safe: Arm


def run(name: str) -> SafeCell:
    """Poison, train twice, measure."""
    row, seed = CELLS[name]
    images, test, rng = row.task.load("train"), row.task.load("test"), Rng(seed)
    poisoned = None
    if row.attack:
        attack = ATTACKS.create(row.attack)
        assert isinstance(attack, DataAttack)
        poisoned = attack.apply(images, rng=rng.child("poison"))
    data = images if poisoned is None else poisoned.data
    bad = set() if poisoned is None else {i for b in poisoned.truth.backdoors for i in b.poisoned}
    fresh = new_classifier(row.task.arch, data, declared=Preprocessing(), rng=rng)
    recipe = build(Recipe, Spec.parse(row.task.recipe))
    began = time.process_time()
    plain = fit(fresh, data, recipe=recipe, rng=rng.child("fit"), progress=Lines(name)).model
    between = time.process_time()
    method = SAFE_TRAININGS.create(SAFELY)
    safe = method.train(fresh, data, recipe=row.task.recipe, rng=rng.child("fit"), progress=Lines(name))
    ended = time.process_time()
    return SafeCell(
        name=name,
        safely=safe.training.safely,
        images=len(data),
        poisoned=len(bad),
        apart=len(safe.apart),
        caught=len(bad & set(safe.apart)),
        plain=_arm(plain, test, poisoned, between - began),
        safe=_arm(safe.model, test, poisoned, ended - between),
    )


def _arm(model: Classifier, test: ImageSet, poisoned: Poisoned | None, seconds: float) -> Arm:
    success = None
    if poisoned is not None:
        (measured, *_) = measure_attack(model, test, poisoned.truth, tensors=poisoned.tensors)
        success = measured.success
    return Arm(accuracy=accuracy(model, test), success=success, cpu_seconds=round(seconds, 1))


def table(results: Mapping[str, SafeCell | None]) -> str:
    """A row for each attack, the means of its seeds; unfinished ones are shown as such."""
    titles = ("training set", "poisoned", "plain training", "safely", "set apart: of the poison, of the rest", "CPU s")
    rows = [_row(key, [results[n] for n in names]) for key, names in groupby(results, lambda n: n.rpartition("-s")[0])]
    return "\n".join((f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *rows))


def _row(key: str, cells: Sequence[SafeCell | None]) -> str:
    done = [cell for cell in cells if cell is not None]
    if not done:
        return f"| {key} | not finished |" + " |" * 4
    title = f"{key} ({len(done)} of {len(cells)} seeds)" if len(done) < len(cells) else key
    rest = mean((cell.apart - cell.caught) / (cell.images - cell.poisoned) for cell in done)
    caught = [cell.caught / cell.poisoned for cell in done if cell.poisoned]
    shown = (
        title,
        f"{done[0].poisoned:,} of {done[0].images:,}",
        _rates([cell.plain for cell in done]),
        _rates([cell.safe for cell in done]),
        f"{f'{100 * mean(caught):.1f} %' if caught else '-'}, {100 * rest:.2f} %",
        f"{mean(c.plain.cpu_seconds for c in done):.0f}, {mean(c.safe.cpu_seconds for c in done):.0f}",
    )
    return f"| {' | '.join(shown)} |"


def _rates(arms: Sequence[Arm]) -> str:
    """Mean accuracy, and the mean success with its smallest and largest."""
    found = [100 * arm.success.value for arm in arms if arm.success is not None]
    success = f"{mean(found):.1f} ({min(found):.1f} to {max(found):.1f})" if found else "-"
    return f"{100 * mean(arm.accuracy.value for arm in arms):.1f} / {success}"


def main() -> int:
    """Run cells, then write the table."""
    options = asked(__doc__, "docs/screen.md")
    torch.set_num_threads(1)
    for name in CELLS:
        path = RESULTS / f"{name}.json"
        if options.table or path.exists() or not fnmatch.fnmatch(name, options.only):
            continue
        write_atomically(path, run(name).to_json().encode())
        sys.stderr.write(f"{name}: done\n")
    paths = {name: RESULTS / f"{name}.json" for name in CELLS}
    results = {n: SafeCell.from_json(p.read_text()) if p.exists() else None for n, p in paths.items()}
    put(ROOT / "docs" / "screen.md", "safe-training", table(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
