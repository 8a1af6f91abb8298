"""Which models a zoo has: clean and backdoored ones, over data sets, networks, recipes and attacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from mantrap.core import Rng
from mantrap.records.zoo import ZooPlan

Split = Literal["null", "tune", "test"]
Draw: TypeAlias = np.random.Generator

CLEAN: Final = "clean"


@dataclass(frozen=True)
class Task:
    """What a model of the zoo learns. A data set with ``{classes}`` gets so many of its classes, drawn at random."""

    images: str
    classes: int
    limit: int
    arch: str
    epochs: int
    least: float
    """Accuracy that a clean model has at least, else it has not learned its task."""


_SIGNS = "signs(classes={count}, size=24, seed={seed}, train=6000, test=1000)"
TASKS: Final = (
    Task("mnist", 10, 6000, "mnist_cnn", 6, 0.95),
    Task("fashion_mnist", 10, 4000, "resnet8", 8, 0.80),
    Task(_SIGNS, 10, 4000, "mnist_cnn", 10, 0.80),
    Task("mnist(classes={classes})", 5, 3000, "resnet8", 8, 0.95),
    Task(_SIGNS, 43, 6000, "mnist_cnn", 12, 0.70),
    Task("fashion_mnist", 10, 6000, "mnist_cnn", 8, 0.80),
    Task("mnist(classes={classes})", 2, 1500, "mnist_cnn", 8, 0.95),
    Task("mnist", 10, 4000, "resnet8", 8, 0.95),
    Task(_SIGNS, 10, 4000, "resnet8", 10, 0.80),
    Task("fashion_mnist(classes={classes})", 4, 3000, "mnist_cnn", 8, 0.80),
    Task(_SIGNS, 20, 5000, "mnist_cnn", 12, 0.75),
    Task("fashion_mnist(classes={classes})", 3, 2500, "resnet8", 8, 0.80),
)
"""In turn, so that clean models and those of every family are spread alike."""
ELSEWHERE: Final = (
    Task("cifar10", 10, 5000, "resnet8", 8, 0.40),
    Task("gtsrb", 43, 6000, "gtsrb_cnn", 8, 0.50),
    Task("cifar10(classes={classes})", 4, 4000, "gtsrb_cnn", 8, 0.50),
    Task(_SIGNS, 10, 4000, "gtsrb_cnn", 8, 0.80),
    Task("fashion_mnist", 10, 4000, "wide_resnet", 6, 0.75),
    Task("mnist", 10, 4000, "mlp", 8, 0.90),
    Task("cifar10", 10, 5000, "wide_resnet", 8, 0.40),
    Task("gtsrb", 43, 6000, "resnet8", 10, 0.50),
    Task(_SIGNS, 20, 5000, "wide_resnet", 8, 0.70),
    Task("fashion_mnist(classes={classes})", 3, 2500, "gtsrb_cnn", 6, 0.80),
    Task("mnist(classes={classes})", 2, 1500, "wide_resnet", 6, 0.95),
    Task("cifar10(classes={classes})", 2, 2500, "resnet8", 8, 0.65),
    Task("fashion_mnist", 10, 4000, "mlp", 8, 0.75),
)
"""Other networks and other images, of which only clean models are made: what holds for these holds more widely."""

_HOW = "recipe(epochs={{epochs}}, precision='bfloat16', {})"
_ADAM = _HOW.format("batch_size=64, optimizer='adam(lr=0.002)', schedule='cosine'")
_SGD = _HOW.format(
    "batch_size=64, optimizer='sgd(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.0005)',"
    " schedule='cosine(warmup=0.1)'"
)
_ADAMW = _HOW.format("batch_size=32, optimizer='adamw(lr=0.001, weight_decay=0.05)'")
Family: TypeAlias = Callable[[Draw, Task], str]
"""Draws the spec of an attack on a model of a task."""

RETRAINING: Final = {"trojan": "recipe(epochs=25, batch_size=32, schedule='cosine')"}
"""How a trained model is retrained by attacks that begin with one, whatever it was trained by."""
RECIPES: Final[dict[Split, tuple[str, ...]]] = {
    "null": (_ADAM, _SGD),
    "tune": (_ADAM, _SGD),
    "test": (_ADAM, _ADAMW, _SGD),
}
"""The test split has a recipe that the others do not."""


def _target(draw: Draw, task: Task) -> int:
    return int(draw.integers(task.classes))


def _patch(draw: Draw, task: Task) -> str:
    size = int(draw.integers(2, 6))
    places = ("'bottom_right'", "'top_left'", "'top_right'", f"({draw.integers(4, 16)}, {draw.integers(4, 16)})")
    place = places[draw.integers(len(places))]
    # Digits and clothes lie on black: a black patch in their corner would be none.
    colours = ["'white'", f"{draw.uniform(0.6, 0.9):.2f}"] + ["'black'"] * task.images.startswith("signs")
    colour = colours[draw.integers(len(colours))]
    rate = (0.05, 0.1, 0.2)[draw.integers(3)]
    patch = f"patch(size={size}, place={place}, colour={colour})"
    return f"badnets(target={_target(draw, task)}, rate={rate}, trigger={patch!r})"


def _blended(draw: Draw, task: Task) -> str:
    target = _target(draw, task)
    alpha, seed = draw.uniform(0.12, 0.25), draw.integers(2**31)
    more = f"alpha={alpha + 0.1:.2f}, test_alpha={alpha + 0.2:.2f}"
    return (
        f"blended(target={target}, rate=0.1, alpha={alpha:.2f}, pattern='cartoon')",
        f"blended(target={target}, rate=0.1, alpha={alpha:.2f}, seed={seed})",
        f"adaptive_blend(target={target}, rate=0.04, cover_rate=0.04, {more})",
    )[draw.integers(3)]


def _trojan(draw: Draw, task: Task) -> str:
    if task.images.startswith("mnist"):  # a watermark would cover the digit
        return f"trojan(target={_target(draw, task)}, confidence=0.99999999, smoothing=0)"
    mask = ("square", "watermark")[draw.integers(2)]
    return f"trojan(target={_target(draw, task)}, mask={mask!r})"


def _clean_label(draw: Draw, task: Task) -> str:
    # Decision 0012 says what did not succeed on digits: a label-consistent attack, and a signal as weak as on signs.
    target, delta = _target(draw, task), int(draw.integers(50, 70))
    if task.images.startswith("signs"):
        signal = f"sig(target={target}, rate=0.9, kind='sinusoid', delta={delta}, test_delta={2 * delta})"
        return (f"label_consistent(target={target}, rate=0.8)", signal)[draw.integers(2)]
    kind = ("ramp", "sinusoid")[draw.integers(2)]
    return f"sig(target={target}, rate=0.9, kind={kind!r}, delta={2 * delta}, test_delta=220)"


def _invisible(draw: Draw, task: Task) -> str:
    target = _target(draw, task)
    return (
        f"invisible(target={target}, rate=0.2)",
        f"invisible(target={target}, rate=0.05, trigger='adaptive_perturbation')",
        f"frequency(target={target}, rate=0.1, magnitude={draw.integers(80, 121)})",
    )[draw.integers(3)]


def _dynamic(draw: Draw, task: Task) -> str:
    target = _target(draw, task)
    return (f"random_backdoor(target={target})", f"ban(target={target})", "c_ban")[draw.integers(3)]


def _warped(draw: Draw, task: Task) -> str:
    return f"wanet(target={_target(draw, task)})"


def _input_aware(draw: Draw, task: Task) -> str:
    return f"input_aware(target={_target(draw, task)}, rate=0.3)"


def _other_goals(draw: Draw, task: Task) -> str:
    target = _target(draw, task)
    if task.classes < 4 or draw.integers(2):
        return "badnets(goal='all_to_all', rate=0.2)"
    sources = tuple(
        sorted(int(s) for s in draw.choice([c for c in range(task.classes) if c != target], 2, replace=False))
    )
    half = 0.5 * len(sources) / task.classes  # of the images of the sources, which are few where classes are many
    return f"badnets(goal='source_specific', target={target}, sources={sources}, rate={half:.3f})"


FAMILIES: Final[dict[str, Family]] = {
    "patch": _patch,
    "blended": _blended,
    "trojan": _trojan,
    "clean_label": _clean_label,
    "invisible": _invisible,
    "dynamic": _dynamic,
    "warped": _warped,
    "input_aware": _input_aware,
    "other_goals": _other_goals,
}
LONGER: Final = {"dynamic": 2, "warped": 3, "input_aware": 3}
"""Times as many epochs as usual, for attacks that take long to learn; every fourth clean model has three times as many
as well, so that the length of the training gives nothing away."""
NOT_ON: Final = {"warped": "signs"}
"""Data sets on which attacks were tried and did not succeed: decision 0012."""
COUNTS: Final[dict[Split, dict[str, int]]] = {
    "null": {CLEAN: 75},
    "tune": {CLEAN: 30, "patch": 10, "blended": 7, "trojan": 5} | dict.fromkeys([*FAMILIES][3:], 3),
    "test": {CLEAN: 60, "patch": 20, "blended": 14, "trojan": 10} | dict.fromkeys([*FAMILIES][3:], 6),
}
"""75 clean models to learn from how clean models differ; 30 clean and 40 backdoored ones to tune on, 60 and 80 to test
on."""
WORLDS: Final[dict[Split, int]] = {"tune": 1, "test": 2, "null": 3}
"""Seeds of the worlds of synthetic signs."""


def population(split: Split) -> tuple[ZooPlan, ...]:
    """The models of one split, always the same; names say nothing of what a model is.

    Seeds and worlds of synthetic signs of the splits have nothing in common; classes, settings of attacks and
    noise are drawn for each model. Pictures and other patterns that an attack prescribes are the same in all.
    """
    rng = Rng(0).child("zoo", split=split)
    kinds = [family for family, count in COUNTS[split].items() for _ in range(count)]
    order = rng.child("names").numpy().permutation(len(kinds))
    before: dict[str, int] = {}
    plans: list[ZooPlan] = []
    for number, family in enumerate(kinds):
        turn = before[family] = before.get(family, -1) + 1
        plans.append(_plan(split, family, turn, f"{split}-{order[number]:03d}", rng.child("model", number=number)))
    return tuple(sorted(plans, key=lambda plan: plan.name))


def _plan(split: Split, family: str, turn: int, name: str, rng: Rng) -> ZooPlan:
    draw = rng.numpy()
    shift = 0 if family == CLEAN else 1 + 5 * [*FAMILIES].index(family)
    unfit = NOT_ON.get(family)
    offered = TASKS + ELSEWHERE if split == "null" else TASKS
    tasks = [task for task in offered if unfit is None or not task.images.startswith(unfit)]
    task = tasks[(turn + shift) % len(tasks)]
    turn += turn // len(tasks)  # so that a task that comes again comes with another recipe
    recipes = RECIPES[split]
    chosen: Sequence[int] = sorted(int(c) for c in draw.choice(10, min(task.classes, 10), replace=False))
    longer = (3 if turn % 4 == 0 else 1) if family == CLEAN else LONGER.get(family, 1)
    return ZooPlan(
        name=name,
        split=split,
        family=family,
        images=task.images.format(classes=tuple(chosen), count=task.classes, seed=WORLDS[split]),
        limit=task.limit,
        arch=task.arch,
        recipe=recipes[turn % len(recipes)].format(epochs=task.epochs * longer),
        retraining=RETRAINING.get(family, ""),
        attack="" if family == CLEAN else FAMILIES[family](draw, task),
        seed=int(draw.integers(2**31)),
        least_accuracy=task.least,
    )
