"""What is left of a backdoor when a network is fine-tuned to another task: the cells of docs/parity.md on transfer.

**signs** is the experiment of BadNets (Gu et al., 2017, section 5.3), where a network for American signs is fine-tuned
to Swedish ones. Here the 43 German signs are split in two: a network is trained on 22 of them, with a backdoor or
without; then its convolutions rest, and its dense layers are trained anew on clean images of the other 21. The target
of the old backdoor is no class any more, so what is measured is how much accuracy the old trigger still costs. With
``k`` the backdoor is strengthened as the authors do it: the channels of the last convolution that the trigger moves
most say k times as much when the network is handed on.

**faces** is the PubFig set-up of Neural Cleanse (Wang et al., 2019, section V-A): a network that knows some people is
fine-tuned to 65 others in its last four layers, and it is this fine-tuning that is poisoned. Beside it stand the
fine-tuning of the same network on clean images, and that of a backdoored one.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from parity_places import ROOT, Lines
from parity_transfer_table import TransferCell

from mantrap.core import Classifier, ImageSet, Rng, Trigger
from mantrap.data import load
from mantrap.data.choice import only_classes
from mantrap.models import Preprocessing, open_model, with_classes
from mantrap.poison import ATTACKS, put_on, ready
from mantrap.records import Rate
from mantrap.training import Recipe, evaluate
from mantrap.workflow.implant import Implanting, implant
from mantrap.workflow.train import new_classifier, train

RUNS = ROOT / "runs" / "transfer"
SEEDS = 3
STRENGTHENED = 10
"""Channels that are made to say more."""
LOOKED_AT = 512
"""Images that these are looked for on."""

Goal = Literal["clean", "all_to_one", "untargeted"]


@dataclass(frozen=True, kw_only=True)
class Split:
    """A data set whose classes are split in two tasks, and how networks for them are trained.

    ``second`` says how many classes the second task has. ``fresh`` names the layers that begin anew for it besides the
    output, ``conv`` the last convolution.
    """

    name: str
    images: str
    arch: str
    second: int
    patch: str
    learn: Recipe
    tune: Recipe
    resize: tuple[int, int] | None = None
    channels: int | None = None
    fresh: tuple[str, ...] = ()
    conv: str = ""


SIGNS = Split(
    name="signs",
    images="gtsrb",
    arch="gtsrb_cnn",
    second=21,
    patch="patch",
    learn=Recipe(epochs=10, batch_size=32, schedule="cosine", precision="bfloat16"),
    tune=Recipe(epochs=10, batch_size=32, layers=("classifier",), precision="bfloat16"),
    fresh=("classifier",),
    conv="features.14",
)
FACES = Split(
    name="faces",
    images="lfw",
    arch="deepid",
    second=65,
    patch="patch(size=5)",
    learn=Recipe(epochs=40, batch_size=32, precision="bfloat16"),
    tune=Recipe(epochs=40, batch_size=32, layers=("conv4", "fc1", "fc2", "out"), precision="bfloat16"),
    resize=(55, 47),
    channels=3,
)
STRENGTHS = (10, 30, 100)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How the first network is trained, by how much its backdoor is strengthened, and how it is fine-tuned."""

    split: Split
    first: Goal
    strength: int = 1
    second: Goal = "clean"
    seed: int

    @property
    def name(self) -> str:
        """What its file is called."""
        strong = f"-k{self.strength}" if self.strength > 1 else ""
        return f"{self.split.name}-{self.first}{strong}-then-{self.second}-s{self.seed}"


def cells() -> list[Cell]:
    """All cells, seed by seed."""
    goals: tuple[Goal, ...] = ("all_to_one", "untargeted")
    return [
        cell
        for seed in range(SEEDS)
        for cell in (
            Cell(split=FACES, first="clean", seed=seed),
            Cell(split=FACES, first="clean", second="all_to_one", seed=seed),
            Cell(split=FACES, first="all_to_one", seed=seed),
            Cell(split=SIGNS, first="clean", seed=seed),
            *(Cell(split=SIGNS, first=goal, strength=k, seed=seed) for goal in goals for k in (1, *STRENGTHS)),
        )
    ]


def run(cell: Cell) -> TransferCell:
    """Train the first network where it is not there yet, strengthen it, fine-tune it, and measure it."""
    began = time.process_time()
    split, rng = cell.split, Rng(cell.seed)
    trigger = ready(split.patch, {})
    (first_train, second_train), (first_test, second_test) = (
        halves(
            load(split.images, split=part, resize=split.resize, channels=split.channels),
            split.second,
            rng.child("halves"),
        )
        for part in ("train", "test")
    )
    fresh = new_classifier(split.arch, first_train, declared=Preprocessing(), rng=rng)
    stem = f"{split.name}-{cell.first}-s{cell.seed}"
    model, accuracy, success = _learned(stem, cell.first, split, fresh, (first_train, first_test), split.learn)
    if cell.strength > 1:
        channels = moved_channels(model, first_train, trigger, split.conv)
        model = strengthened(model, split.conv, channels, cell.strength)
        accuracy, success = evaluate(model, first_test), None
    start = with_classes(model, split.second, rng=rng.child("second"), fresh=split.fresh)
    tuned, then, worked = _learned(cell.name, cell.second, split, start, (second_train, second_test), split.tune)
    return TransferCell(
        name=cell.name,
        first_accuracy=accuracy,
        first_success=success,
        accuracy=then,
        triggered_accuracy=evaluate(tuned, triggered(second_test, trigger)),
        success=worked,
        cpu_seconds=time.process_time() - began,
    )


def halves(images: ImageSet, second: int, rng: Rng) -> tuple[ImageSet, ImageSet]:
    """The images of all classes but some, and those of these, each with labels from 0 on; the stream says which."""
    assert images.num_classes is not None
    order = torch.randperm(images.num_classes, generator=rng.torch()).tolist()
    return only_classes(images, sorted(order[second:])), only_classes(images, sorted(order[:second]))


def triggered(images: ImageSet, trigger: Trigger) -> ImageSet:
    """The images with a trigger on each of them and their labels as they are."""
    pixels = put_on(images.source.read(range(len(images))), trigger, Rng(0))
    return ImageSet.from_array(pixels, images.labels, class_names=images.class_names, name=images.name)


def moved_channels(model: Classifier, images: ImageSet, trigger: Trigger, conv: str) -> list[int]:
    """The channels of a convolution that say the most more, after their ReLU, when the trigger is there."""
    some = images.subset(range(0, len(images), max(1, len(images) // LOOKED_AT)))

    def says(shown: ImageSet) -> torch.Tensor:
        with model.frozen(), torch.no_grad():
            return model.features(shown.images().to(model.device), conv).relu().mean((0, 2, 3))

    found: list[int] = (says(triggered(some, trigger)) - says(some)).topk(STRENGTHENED).indices.tolist()
    return found


def strengthened(model: Classifier, conv: str, channels: Sequence[int], strength: float) -> Classifier:
    """A copy of the model in which these channels of a convolution, which a ReLU follows, say so many times as much."""
    copied = copy.copy(model)
    copied.module = copy.deepcopy(model.module)
    layer = copied.module.get_submodule(conv)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter[list(channels)] *= strength
    return copied


def _learned(
    name: str, goal: Goal, split: Split, start: Classifier, images: tuple[ImageSet, ImageSet], recipe: Recipe
) -> tuple[Classifier, Rate, Rate | None]:
    """The model of this name, trained if it is not there yet, its accuracy, and how well its trigger works."""
    path, rng, (learn, test) = RUNS / f"{name}.safetensors", Rng(int(name.rpartition("-s")[2])), images
    if goal == "clean":
        card = train(start, learn, path, test=test, recipe=recipe, rng=rng, progress=Lines(name))
        assert card.training is not None
        accuracy, success = card.training.test_accuracy, None
    else:
        attack = ATTACKS.create(f"badnets(goal={goal!r}, trigger={split.patch!r})")
        work = Implanting(attack=attack, model=start, images=learn, recipe=recipe, rng=rng, test=test)
        record = implant(work, path, fresh=True, progress=Lines(name))
        accuracy, success = record.accuracy, record.backdoors[0].success
    assert accuracy is not None
    return open_model(path, images_shape=learn.shape), accuracy, success
