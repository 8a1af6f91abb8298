"""Build the population of clean and backdoored models that detectors, repairs and guards are measured on."""

import fnmatch
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Spec, build
from mantrap.data import load
from mantrap.engine import Engine, Here
from mantrap.errors import FailedError, RecordError, UsageError
from mantrap.models import Preprocessing, open_model
from mantrap.poison import ATTACKS
from mantrap.records import AttackMeasure, Rate, ZooManifest, ZooModel, ZooPlan
from mantrap.records.files import sha256_of, write_atomically
from mantrap.training import Recipe
from mantrap.workflow.implant import Implanting, implant
from mantrap.workflow.measure import Clean
from mantrap.workflow.train import new_classifier, start_over, train
from mantrap.workflow.zoo_plan import Split, population

LEAST_SUCCESS = 0.75
"""Success of every planted backdoor, at least, else the attack has failed."""
LEAST_MORE = 0.5
"""By how much more a trigger succeeds than on a clean model, where one is there: else it shows no backdoor."""
ATTEMPTS = 3
"""Seeds that are tried for a model before it is left as one that does not work."""
_TESTED = 2000
_CLEAN_BESIDE = ("trojan", "blended", "clean_label", "invisible")
"""Families beside which a clean model is trained: the attacker needs it, or the trigger may move any model."""


def build_zoo(
    split: Split, out: Path, *, only: str = "*", engine: Engine | None = None, progress: Progress = SILENT
) -> ZooManifest:
    """Make the models of one split; what is finished is not made again.

    Each model lies in ``out`` as ``NAME.safetensors`` with its card and, where it is backdoored, its truth;
    ``NAME.zoo.json`` says how it came out, and ``manifest.json`` holds all of these.

    Args:
        split: ``"tune"``, to design defenders on, or ``"test"``, to report on once.
        out: Folder for the models.
        only: Shell pattern of families or names, to make a part of them.
        engine: Where to run; in this process where ``None``.
        progress: Observer; one unit a model.

    Returns:
        All models of the split that are finished by now.

    Raises:
        UsageError: No model fits the pattern, or a data set is not on this machine.
        OutputError: The folder cannot be written.
    """
    plans = population(split)
    wanted = [p for p in plans if fnmatch.fnmatch(p.family, only) or fnmatch.fnmatch(p.name, only)]
    if not wanted:
        families = sorted({plan.family for plan in plans})
        raise UsageError(
            expected=f"a pattern of the families {', '.join(families)}, or of names such as {plans[0].name}",
            got=repr(only),
            remedy="Correct --only.",
        )
    models = {plan.name: model for plan in plans if (model := _finished(plan, out)) is not None}
    todo = [plan for plan in wanted if plan.name not in models]
    todo.sort(key=lambda plan: plan.images)  # so that a process keeps the images that it has made
    with progress.stage(f"zoo, {split}", len(wanted)) as stage:
        stage.advance(len(wanted) - len(todo), "from the run before" if len(todo) < len(wanted) else "")
        for model in (engine or Here()).map(partial(make, out=out), todo):
            models[model.plan.name] = model
            stage.advance(1, f"{model.plan.name}, {model.plan.family}")
            _write_manifest(split, models, out)
    return _write_manifest(split, models, out)


def make(plan: ZooPlan, *, out: Path) -> ZooModel:
    """Make one model, with another seed where it does not come out as it was meant to, and write it down.

    Raises:
        UsageError: The data set is not on this machine.
        OutputError: The folder cannot be written.
    """
    began = time.process_time()
    path = out / f"{plan.name}.safetensors"
    train_set = load(plan.images, split="train", limit=plan.limit, rng=Rng(plan.seed))
    test = load(plan.images, split="test", limit=_TESTED, rng=Rng(plan.seed))
    for attempt in range(1, ATTEMPTS + 1):
        accuracy, measures, failure = _attempted(plan, path, train_set, test, Rng(plan.seed + attempt - 1))
        learned = accuracy is not None and accuracy.value >= plan.least_accuracy
        works = learned and all(map(planted, measures))
        if works:
            break
    model = ZooModel(
        plan=plan,
        sha256="" if failure else sha256_of(path),
        accuracy=accuracy,
        measures=measures,
        works=works,
        attempt=attempt,
        failure=failure,
        cpu_seconds=time.process_time() - began,
    )
    write_atomically(_record_path(plan, out), model.to_json().encode())
    return model


def cost_by_family(manifest: ZooManifest) -> Mapping[str, tuple[int, int, float]]:
    """For each family how many models are finished, how many of them work, and their CPU seconds."""
    rows: dict[str, tuple[int, int, float]] = defaultdict(lambda: (0, 0, 0.0))
    for model in manifest.models:
        made, work, seconds = rows[model.plan.family]
        rows[model.plan.family] = (made + 1, work + model.works, seconds + model.cpu_seconds)
    return dict(rows)


def planted(measure: AttackMeasure) -> bool:
    """Whether a backdoor works, and its trigger does not do as much to a clean model."""
    anyway = measure.clean_model_success
    more = anyway is None or measure.success.value - anyway.value >= LEAST_MORE
    return measure.success.value >= LEAST_SUCCESS and more


def _attempted(
    plan: ZooPlan, path: Path, images: ImageSet, test: ImageSet, rng: Rng
) -> tuple[Rate | None, tuple[AttackMeasure, ...], str]:
    """What one seed came to: accuracy and measures, or how it failed, and then no file is left of it."""
    try:
        return *_made(plan, path, images, test, rng), ""
    except FailedError as error:
        for left in [*path.parent.glob(f"{plan.name}.*")]:  # none where the folder is not there yet
            left.unlink()
        return None, (), str(error)


def _made(
    plan: ZooPlan, path: Path, images: ImageSet, test: ImageSet, rng: Rng
) -> tuple[Rate, tuple[AttackMeasure, ...]]:
    """Train or attack with one seed; what an earlier attempt left is written over."""
    recipe = build(Recipe, Spec.parse(plan.recipe))
    retraining = build(Recipe, Spec.parse(plan.retraining)) if plan.retraining else recipe
    fresh = new_classifier(plan.arch, images, declared=Preprocessing(), rng=rng)
    if not plan.attack:
        return _learned(fresh, images, path, test, recipe, rng), ()
    attack = ATTACKS.create(plan.attack)
    start, surrogate, beside = fresh, None, path.with_suffix(".clean.safetensors")
    if plan.family in _CLEAN_BESIDE:
        _learned(fresh, images, beside, test, recipe, rng.child("attacker"))
        surrogate = open_model(beside, images_shape=images.shape)
        start = surrogate if plan.retraining else fresh
    work = Implanting(
        attack=attack,
        model=start,
        images=images,
        recipe=retraining,
        rng=rng,
        surrogate=surrogate,
        test=test,
        clean=None if surrogate is None else Clean(surrogate),
    )
    record = implant(work, path, fresh=True)
    if surrogate is not None:
        start_over(beside)
    assert record.accuracy is not None
    return record.accuracy, record.backdoors


def _learned(model: Classifier, images: ImageSet, path: Path, test: ImageSet, recipe: Recipe, rng: Rng) -> Rate:
    start_over(path)
    card = train(model, images, path, test=test, recipe=recipe, rng=rng)
    assert card.training is not None
    assert card.training.test_accuracy is not None
    return card.training.test_accuracy


def _record_path(plan: ZooPlan, out: Path) -> Path:
    return out / f"{plan.name}.zoo.json"


def _finished(plan: ZooPlan, out: Path) -> ZooModel | None:
    """The model that a plan has become, if it has and its weights are there; ``None`` for one of another plan."""
    weights = out / f"{plan.name}.safetensors"
    try:
        model = ZooModel.from_json(_record_path(plan, out).read_text(encoding="utf-8"))
        there = model.failure or sha256_of(weights) == model.sha256
    except (OSError, UnicodeDecodeError, RecordError):
        return None
    return model if model.plan == plan and there else None


def _write_manifest(split: Split, models: Mapping[str, ZooModel], out: Path) -> ZooManifest:
    ordered = tuple(models[name] for name in sorted(models))
    manifest = ZooManifest(split=split, planned=len(population(split)), models=ordered)
    write_atomically(out / "manifest.json", manifest.to_json().encode())
    return manifest
