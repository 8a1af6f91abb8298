"""Make one piece of a grid, and keep it: also that it failed, and how."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mantrap.core import Rng, Spec, build
from mantrap.errors import MantrapError, OutputError, RecordError
from mantrap.models import Preprocessing, device, open_model
from mantrap.models.cards import read_card
from mantrap.poison import ATTACKS
from mantrap.records import GridPiece
from mantrap.records.files import discard, sha256_of, write_atomically
from mantrap.records.grid import CLEAN
from mantrap.training import Recipe, evaluate
from mantrap.workflow import grid_defences as defences
from mantrap.workflow.grid_defences import Bench
from mantrap.workflow.grid_images import drawn
from mantrap.workflow.grid_jobs import Job, Place, What
from mantrap.workflow.implant import Implanting, implant
from mantrap.workflow.measure import Clean, measured
from mantrap.workflow.train import new_classifier, train
from mantrap.workflow.zoo_plan import RETRAINING


def finished(job: Job, place: Place) -> GridPiece | None:
    """The piece that a job has become; ``None`` where there is none, or where the model of it is gone or another."""
    try:
        piece = GridPiece.from_json(place.piece(job).read_text(encoding="utf-8"))
        whole = not piece.sha256 or sha256_of(place.model(job)) == piece.sha256
    except (OSError, UnicodeDecodeError, RecordError):
        return None
    return piece if whole and piece.key == job.key else None


def make(job: Job, *, out: Path) -> GridPiece:
    """Make a piece and keep it.

    Raises:
        OutputError: The grid's folder cannot be written: that is no failure of this piece.
    """
    place, began = Place(out), time.process_time()
    if place.piece(job).exists():  # finished once, and not to be had any more, or to be made again
        _wipe(job, place)
    try:
        piece = _MAKERS[job.what](job, place)
    except OutputError:
        raise
    except MantrapError as error:
        piece = _failed(job, str(error))
    except Exception as error:  # noqa: BLE001 - whatever one piece breaks at, the others go on, and the reader is told
        piece = _failed(job, f"{type(error).__name__}: {error}")
    piece = dataclasses.replace(piece, cpu_seconds=round(time.process_time() - began, 3))
    write_atomically(place.piece(job), piece.to_json().encode())
    return piece


def _failed(job: Job, failure: str) -> GridPiece:
    return GridPiece(key=job.key, what=str(job), failure=" ".join(failure.split()) or "no reason was given")


def _wipe(job: Job, place: Place) -> None:
    path = place.model(job)
    for left in (place.piece(job), place.audit(job), *path.parent.glob(f"{job.key}.*")):
        discard(left)


def _clean(job: Job, place: Place) -> GridPiece:
    images, rng, path = drawn(job.plan, job.data, job.seed).training, Rng(job.seed).child("clean"), place.model(job)
    fresh = new_classifier(job.model, images, declared=Preprocessing(), rng=rng)
    fresh.module.to(device("auto"))
    train(fresh, images, path, test=None, recipe=_recipe(job.plan.recipe), rng=rng)
    return GridPiece(key=job.key, what=str(job), sha256=sha256_of(path))


def _attacked(job: Job, place: Place) -> GridPiece:
    """The attacker has the clean model, for attacks that ask for one; some begin with it."""
    images, rng, path = drawn(job.plan, job.data, job.seed).training, Rng(job.seed), place.model(job)
    attack = ATTACKS.create(job.attack)
    surrogate = open_model(place.model(job.needs[0]), images_shape=images.shape)
    begun = attack.name in RETRAINING
    start = surrogate if begun else new_classifier(job.model, images, declared=Preprocessing(), rng=rng)
    start.module.to(device("auto"))
    recipe = _recipe(job.plan.retraining if begun else job.plan.recipe)
    work = Implanting(attack=attack, model=start, images=images, recipe=recipe, rng=rng, surrogate=surrogate)
    return GridPiece(key=job.key, what=str(job), sha256=implant(work, path).sha256)


def _measured(job: Job, place: Place) -> GridPiece:
    bench = Bench(job, place)
    test = bench.images.test
    if job.attack == CLEAN:
        return GridPiece(key=job.key, what=str(job), accuracy=evaluate(bench.model, test))
    assert bench.truth is not None
    beside = Clean(bench.opened(job.needs[1]), read_card(place.model(job.needs[1])))
    found = measured(bench.model, test, *bench.truth, beside)
    return GridPiece(
        key=job.key,
        what=str(job),
        accuracy=found.accuracy,
        comparison=found.comparison,
        measures=found.backdoors,
    )


def _recipe(spec: str) -> Recipe:
    return build(Recipe, Spec.parse(spec))


def _on_a_bench(defend: Callable[[Bench], GridPiece]) -> Callable[[Job, Place], GridPiece]:
    return lambda job, place: defend(Bench(job, place))


_MAKERS: Mapping[What, Callable[[Job, Place], GridPiece]] = {
    What.CLEAN: _clean,
    What.ATTACKED: _attacked,
    What.MEASURED: _measured,
    What.DETECTOR: _on_a_bench(defences.detect),
    What.GUARD: _on_a_bench(defences.guard),
    What.REPAIR: _on_a_bench(defences.repair),
    What.SCREEN: _on_a_bench(defences.screen),
}
