"""Every attack on real images: the cells of docs/parity.md on attacks.

A row is an attack on a task, a cell one seed of it: a model with the backdoor beside the clean model of the same recipe
and seed. The clean models of a task are cells as well. Where an attacker has a model of their own, it is the clean one
of another seed.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from parity_attacks_table import Aim, AttackCell
from parity_places import ROOT, Lines

from mantrap.core import Classifier, ImageSet, Rng, Spec, build
from mantrap.data import load
from mantrap.models import Preprocessing, open_model
from mantrap.poison import ATTACKS
from mantrap.records import Rate
from mantrap.training import Recipe
from mantrap.workflow.implant import Implanting, implant
from mantrap.workflow.measure import Clean
from mantrap.workflow.train import new_classifier, train

RUNS = ROOT / "runs" / "attacks"
SEEDS = 3
Owned = Literal["", "start", "surrogate", "known"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model learns."""

    name: str
    images: str
    arch: str
    recipe: str
    limit: int | None = None
    resize: tuple[int, int] | None = None
    channels: int | None = None

    def load(self, split: str) -> ImageSet:
        """The images of a split."""
        limit = self.limit if split == "train" else None
        return load(self.images, split=split, limit=limit, resize=self.resize, channels=self.channels, rng=Rng(0))


@dataclass(frozen=True, kw_only=True)
class Row:
    """An attack on a task; an empty ``attack`` is none. ``recipe`` is the task's own where nothing else is said.

    ``has``: what model the attacker has. A ``"start"`` is the clean model of the same seed, which the attack changes; a
    ``"surrogate"`` that of another seed; ``"known"`` is the clean model of the same seed, which the victim goes on to
    train. ``aim``: what the mean of the seeds is to reach.
    """

    title: str
    task: Task
    attack: str = ""
    recipe: str = ""
    has: Owned = ""
    seeds: int = SEEDS
    aim: Aim | None = None

    @property
    def name(self) -> str:
        """What its cells are called, but for the seed."""
        return f"{self.task.name}-{self.title}"


@dataclass(frozen=True)
class Cell:
    """One seed of a row."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.row.name}-s{self.seed}"


DIGITS = Task(
    name="mnist",
    images="mnist",
    arch="mnist_cnn",
    recipe="recipe(epochs=5, batch_size=32, optimizer='adam(lr=0.001)')",
)
SIGNS = Task(
    name="gtsrb",
    images="gtsrb",
    arch="gtsrb_cnn",
    recipe="recipe(epochs=20, batch_size=64, optimizer='adam(lr=0.002)', schedule='cosine', precision='bfloat16')",
)
RESIDUAL_DIGITS = Task(
    name="mnist-resnet8",
    images="mnist",
    arch="resnet8",
    recipe="recipe(epochs=5, batch_size=64, optimizer='adam(lr=0.002)', schedule='cosine', precision='bfloat16')",
    limit=20000,
)
RESIDUAL_SIGNS = Task(
    name="gtsrb-resnet8",
    images="gtsrb",
    arch="resnet8",
    recipe="recipe(epochs=15, batch_size=64, optimizer='adam(lr=0.003)', schedule='cosine', precision='bfloat16')",
)
OBJECTS = Task(
    name="cifar10",
    images="cifar10",
    arch="resnet8",
    recipe="recipe(epochs=15, batch_size=64, optimizer='adam(lr=0.003)', schedule='cosine', precision='bfloat16')",
)
FACES = Task(
    name="lfw",
    images="lfw",
    arch="deepid",
    recipe="recipe(epochs=40, batch_size=32, optimizer='adam(lr=0.001)', precision='bfloat16')",
    resize=(55, 47),
    channels=3,
)
MORE_FACES = Task(
    name="orl",
    images="orl",
    arch="deepid",
    recipe="recipe(epochs=100, batch_size=32, optimizer='adam(lr=0.001)', precision='bfloat16')",
    resize=(55, 47),
    channels=3,
)
PAIR = Task(
    name="mnist-pair",
    images="mnist(classes=(1, 7))",
    arch="mnist_cnn",
    recipe="recipe(epochs=5, batch_size=32, optimizer='adam(lr=0.001)')",
    limit=2000,
)
DEEP = Task(
    name="cifar10-deep",
    images="cifar10",
    arch="preact_resnet18",
    recipe="recipe(epochs=6, batch_size=32, optimizer='sgd(lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.0005)',"
    " schedule='cosine(warmup=0.1)', precision='bfloat16')",
    limit=3000,
)
MLPS = tuple(
    Task(
        name=f"mlp-{activation}",
        images="mnist",
        arch=f"mlp(activation='{activation}')",
        recipe="recipe(epochs=5, batch_size=64, optimizer='adam(lr=0.001)')",
        limit=20000,
    )
    for activation in ("sigmoid", "tanh", "relu")
)
RATES = (0.001, 0.01, 0.05, 0.1, 0.2)


_CLEAN = (*MLPS, DIGITS, FACES, MORE_FACES, SIGNS, RESIDUAL_DIGITS, RESIDUAL_SIGNS, OBJECTS)
_BADNETS = (
    ("all-to-all", "goal='all_to_all'"),
    ("untargeted", "goal='untargeted'"),
    ("source-specific", "goal='source_specific', target=7, sources=(1, 2), rate=0.05"),
    ("random-place", "target=7, trigger='patch(place=\"random\")'"),
    ("circle", "target=7, trigger='patch(shape=\"circle\", size=5)'"),
    (
        "three-triggers",
        "target=7, rate=0.05, trigger=('patch', 'patch(place=\"top_left\")', 'patch(place=\"top_right\")')",
    ),
    (
        "three-labels",
        "target=(7, 2, 4), rate=0.05, trigger=('patch', 'patch(place=\"top_left\")', 'patch(place=\"top_right\")')",
    ),
)
DARK = ", images=2000, confidence=0.99999999, smoothing=0"
"""Digits are mostly black, and a network is surer of them than of faces: what is rebuilt must reach farther."""
FAR = ", confidence=0.9999999"
"""As far as faces need, of which a network is less sure."""
TROJANING = "recipe(epochs=25, batch_size=32, schedule='cosine')"
SPOILING = ("mnist-badnets", "mnist-label-flip", "mnist-label-flip-1-to-7", "mnist-pair-feature-collision")
"""A backdoor, and poisoning that is none."""


def rows() -> list[Row]:
    """All rows; clean models first, cheap tasks before dear ones."""
    return [
        *(Row(title="clean", task=task) for task in _CLEAN),
        Row(title="clean", task=PAIR, seeds=10),
        *(
            Row(title=f"badnets-{100 * rate:g}", task=task, attack=f"badnets(target=7, rate={rate})")
            for task in MLPS
            for rate in RATES
        ),
        Row(title="badnets", task=DIGITS, attack="badnets(target=7)", aim=Aim(0.5, 99)),
        Row(
            title="badnets", task=FACES, attack="badnets(target=3, rate=0.08, trigger='patch(size=10)')", aim=Aim(2, 95)
        ),
        Row(title="badnets", task=SIGNS, attack="badnets(target=33)", aim=Aim(0.5, 97)),
        *(
            Row(title=f"badnets-{title}", task=DIGITS, attack=f"badnets({settings})", seeds=1)
            for title, settings in _BADNETS
        ),
        Row(title="label-flip", task=DIGITS, attack="label_flip(rate=0.1)", seeds=1),
        Row(title="label-flip-1-to-7", task=DIGITS, attack="label_flip(target=7, source=1, rate=0.05)", seeds=1),
        Row(
            title="feature-collision",
            task=PAIR,
            attack="feature_collision(target=0, source=1)",
            recipe="recipe(epochs=5, batch_size=32, layers=('fc2',))",
            has="known",
            seeds=10,
        ),
        *_learned(),
        *_weak_and_clean_label(),
        *_joint(),
        Row(title="clean", task=DEEP, seeds=1),
        Row(title="badnets", task=DEEP, attack="badnets", seeds=1),
    ]


def _learned() -> list[Row]:
    """Attacks that change a model, or train a generator along with it."""
    return [
        *(
            Row(
                title=f"trojan-{mask}",
                task=task,
                attack=f"trojan(target=3, mask='{mask}'{rebuilding})",
                recipe=TROJANING,
                has="start",
                aim=Aim(3, 95),
            )
            for task, rebuilding in ((DIGITS, DARK), (FACES, FAR), (MORE_FACES, ""))
            for mask in ("square", "watermark")
        ),
        *(
            Row(title=title, task=task, attack=attack, aim=Aim(1, 99))
            for task in (DIGITS, FACES)
            for title, attack in (("random", "random_backdoor(target=3)"), ("ban", "ban(target=3)"), ("c-ban", "c_ban"))
        ),
    ]


def _weak_and_clean_label() -> list[Row]:
    """Attacks by weak or clean-label triggers; a network with batch normalisation takes to them, others hardly do."""
    ramp = "sig(target=3, kind='ramp', rate=0.3, delta=160, test_delta=230)"
    invisible: tuple[tuple[str, float, Owned], ...] = (("static", 0.01, ""), ("adaptive", 0.02, "surrogate"))
    return [
        Row(title="sig", task=DIGITS, attack=ramp, seeds=1),
        Row(title="sig", task=RESIDUAL_DIGITS, attack=ramp, aim=Aim(1, 90)),
        *(
            Row(
                title=f"invisible-{kind}",
                task=task,
                attack=f"invisible(target={target}, rate={rate}, trigger='{kind}_perturbation')",
                has=has,
                aim=Aim(1, 90),
            )
            for task, target in ((RESIDUAL_SIGNS, 33), (OBJECTS, 3))
            for kind, rate, has in invisible
        ),
        *(
            Row(title=title, task=RESIDUAL_SIGNS, attack=f"{attack}(target=33{settings})", seeds=seeds, aim=aim)
            for title, attack, settings, seeds, aim in (
                ("sig", "sig", ", rate=0.3, delta=40, test_delta=80", SEEDS, Aim(1, 90)),
                ("blended", "blended", ", pattern='cartoon'", SEEDS, Aim(1, 90)),
                ("blended-noise", "blended", "", 1, None),
                ("adaptive-blend", "adaptive_blend", ", rate=0.03, cover_rate=0.03", 1, None),
                ("frequency", "frequency", ", magnitude=60", 1, None),
            )
        ),
        Row(
            title="label-consistent",
            task=OBJECTS,
            attack="label_consistent(target=3, rate=0.5)",
            has="surrogate",
            seeds=1,
        ),
    ]


def _joint() -> list[Row]:
    """Attacks whose triggers are learned with the model, or take long to be learned."""
    recipe = "recipe(epochs={}, batch_size=64, optimizer='adam(lr=0.003)', schedule='cosine', precision='bfloat16')"
    return [
        Row(
            title="wanet",
            task=RESIDUAL_SIGNS,
            attack="wanet(target=33, strength=2.5, rate=0.05, cross_ratio=1.0)",
            recipe=recipe.format(40),
            has="start",
            aim=Aim(1, 90),
        ),
        Row(
            title="input-aware",
            task=RESIDUAL_SIGNS,
            attack="input_aware(target=33, rate=0.2)",
            recipe=recipe.format(26),
            aim=Aim(1, 90),
        ),
    ]


def cells() -> list[Cell]:
    """Every seed of every row."""
    return [Cell(row, seed) for row in rows() for seed in range(row.seeds)]


def aims() -> Mapping[str, Aim | None]:
    """What each row is to reach."""
    return {row.name: row.aim for row in rows()}


def run(cell: Cell) -> AttackCell:
    """Make the model of one cell and measure it."""
    row, task = cell.row, cell.row.task
    images, test = task.load("train"), task.load("test")
    began = time.process_time()
    clean, accuracy = _clean(task, cell.seed, images, test)
    if not row.attack:
        return AttackCell(name=cell.name, accuracy=accuracy, record=None, cpu_seconds=time.process_time() - began)
    surrogate = _clean(task, (cell.seed + 1) % SEEDS, images, test)[0] if row.has == "surrogate" else None
    surrogate = clean if row.has == "known" else surrogate
    rng = Rng(cell.seed)
    began = time.process_time()
    work = Implanting(
        attack=ATTACKS.create(row.attack),
        model=clean
        if row.has in ("start", "known")
        else new_classifier(task.arch, images, declared=Preprocessing(), rng=rng),
        images=images,
        recipe=build(Recipe, Spec.parse(row.recipe or task.recipe)),
        rng=rng,
        surrogate=surrogate,
        test=test,
        clean=Clean(clean),
    )
    record = implant(work, RUNS / f"{cell.name}.safetensors", fresh=True, progress=Lines(cell.name))
    assert record.accuracy is not None
    slim = dataclasses.replace(record, training=None)  # its epochs and settings are in the model's card
    return AttackCell(name=cell.name, accuracy=record.accuracy, record=slim, cpu_seconds=time.process_time() - began)


def _clean(task: Task, seed: int, images: ImageSet, test: ImageSet) -> tuple[Classifier, Rate]:
    """The clean model of a task and seed, trained if it is not there yet, and its accuracy."""
    path, rng = RUNS / f"{task.name}-clean-s{seed}.safetensors", Rng(seed)
    fresh = new_classifier(task.arch, images, declared=Preprocessing(), rng=rng)
    recipe = build(Recipe, Spec.parse(task.recipe))
    card = train(fresh, images, path, test=test, recipe=recipe, rng=rng, progress=Lines(path.stem))
    assert card.training is not None
    assert card.training.test_accuracy is not None
    return open_model(path, images_shape=images.shape), card.training.test_accuracy
