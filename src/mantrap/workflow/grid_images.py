"""The images of a grid: what is trained with, what the defender has, and what is measured on."""

from dataclasses import dataclass
from functools import lru_cache

from mantrap.core import ImageSet, Rng
from mantrap.core.attack import DataAttack, LearnedTrigger, ModelAttack
from mantrap.data import load
from mantrap.data.splits import sample
from mantrap.errors import DataError, MantrapError, UsageError
from mantrap.models import Preprocessing
from mantrap.poison import ATTACKS, put_on
from mantrap.poison.attacks import Combined
from mantrap.records import GridPlan
from mantrap.training import check_fits
from mantrap.workflow.train import new_classifier


@dataclass(frozen=True, eq=False)
class Images:
    """The images of one data set with one seed; those of the defender and of the test share no content."""

    training: ImageSet
    defender: ImageSet
    test: ImageSet


@lru_cache(maxsize=2)
def images_of(data: str, seed: int, training: int | None, defender: int, test: int) -> Images:
    """The images that a seed draws, each label in proportion: of the train split, and of the test split.

    The defender's do not depend on how many are measured on.

    Args:
        data: A named set, or a path.
        seed: Of the choice.
        training: How many of the train split; all where ``None``.
        defender: How many of the test split the defender has.
        test: How many others are measured on: no content and no group is in both.

    Raises:
        DataError: There are no labels, or files are broken.
        UsageError: The data set is not there or not divided, or has fewer images.
    """
    rng = Rng(seed)
    trained = load(data, split="train", limit=training, rng=rng.child("training images"))
    known = load(data, split="test", limit=defender, rng=rng.child("defender images"))
    others = load(data, split="test", limit=defender + test, rng=rng.child("test images"))
    for images in (trained, known):
        if not images.labelled:
            raise DataError(expected=f"labels for {data}", got="none", remedy="A grid needs labelled sets.")
    rest = _apart(others, known)
    if len(rest) < test:  # groups and equal images took some with them: the others are among all that there are
        others = load(data, split="test")
        rest = _apart(others, known)
    for found, count, where in (
        (len(trained), training or 1, "train split"),
        (len(known), defender, "test split"),
        (len(rest), test, "test split beside those of the defender"),
    ):
        if found < count:
            raise UsageError(
                expected=f"{count:,} images in the {where}, of {data}",
                got=f"{found:,}",
                remedy="Lower images in [training], or in [defender] and [test], or leave the data set out.",
            )
    assert others.labels is not None
    labels = others.labels[rest].tolist()
    chosen = sample(labels, len(rest), test, rng=rng.child("measured images"))
    return Images(trained, known, others.subset([rest[place] for place in chosen]))


def _apart(images: ImageSet, known: ImageSet) -> list[int]:
    """The numbers of those that share no content and no group with images that are known."""
    contents, groups = set(known.content_hashes), set(known.groups or ())
    own = images.groups or ("",) * len(images)
    pairs = zip(images.content_hashes, own, strict=True)
    return [i for i, (content, group) in enumerate(pairs) if content not in contents and group not in groups]


def drawn(plan: GridPlan, data: str, seed: int) -> Images:
    """The images of a plan; see :func:`images_of`."""
    return images_of(data, seed, plan.training_images, plan.defender_images, plan.test_images)


def check_plan(plan: GridPlan) -> dict[tuple[str, int], dict[str, str]]:
    """Refuse a plan whose data sets are not there, or whose networks or attacks do not fit them.

    Returns:
        Digests of the images, by data set and seed.

    Raises:
        DataError: Files are broken, have no labels, or do not fit each other.
        UsageError: A data set is not there or too small, or a network or an attack does not fit it.
    """
    digests = {}
    for data in plan.data:
        for number, seed in enumerate(plan.seeds):
            images = drawn(plan, data, seed)
            if not number:
                _check_fits(plan, data, images)
            digests[data, seed] = {name: getattr(images, name).digest() for name in ("training", "defender", "test")}
    return digests


def _check_fits(plan: GridPlan, data: str, images: Images) -> None:
    for what, specs, check in (("models", plan.models, _check_model), ("attacks", plan.attacks, _check_attack)):
        for spec in specs:
            try:
                check(spec, images)
            except MantrapError as error:
                raise UsageError(
                    expected=f"{what} that fit {data}",
                    got=f"{spec}, of which it is said: {error}",
                    remedy="Take it out of this grid, or this data set; another grid may share the folder.",
                ) from error


def _check_model(spec: str, images: Images) -> None:
    model = new_classifier(spec, images.training, declared=Preprocessing(), rng=Rng(0))
    for some in (images.training, images.defender, images.test):
        check_fits(model, some)


def _check_attack(spec: str, images: Images) -> None:
    """What of an attack can be told without making it: its classes, its choice of images, and its trigger's place."""
    attack: DataAttack | ModelAttack = ATTACKS.create(spec)
    data, rng = images.training, Rng(0)
    assert data.labels is not None
    assert data.num_classes is not None
    target = getattr(attack, "target", None)
    if isinstance(target, int) and target >= data.num_classes:
        classes = data.num_classes
        raise UsageError(expected=f"a target from 0 to {classes - 1}", got=f"{target}", remedy="Choose another target.")
    for part in attack.parts() if isinstance(attack, Combined) else ():
        aim = part.relabelling
        aim.relabel(data.labels, num_classes=data.num_classes, rng=rng)
        part.selection.choose(aim.eligible(data.labels), total=aim.total(data.labels), rng=rng)
        if not isinstance(part.trigger, LearnedTrigger):
            put_on(data.images([0]), part.trigger, rng)
