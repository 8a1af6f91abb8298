"""``mantrap train``."""

import sys
from dataclasses import dataclass

from cyclopts import Parameter

from mantrap.cli.options import Declared, Images, Output, Running
from mantrap.cli.progress import watching
from mantrap.records import ModelCard


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Training:
    """What to train, and how."""

    arch: str
    """Spec of an architecture; sizes that it leaves open are taken from the images."""
    recipe: str = "recipe"
    """How to train, such as "recipe(epochs=5, optimizer='sgd(lr=0.1, momentum=0.9)')"."""
    test: str | None = None
    """Images to measure the accuracy on; the test split of --images where that is a named set."""


_DECLARED, _RUNNING = Declared(), Running()


def train(
    *,
    images: Images,
    training: Training,
    output: Output,
    declared: Declared = _DECLARED,
    running: Running = _RUNNING,
) -> int:
    """Train a model and save it as NAME.safetensors, with its card beside it; the same command goes on after a kill."""
    from mantrap.core import Rng, Spec, build  # noqa: PLC0415 - torch
    from mantrap.models import device  # noqa: PLC0415 - torch
    from mantrap.training import Recipe  # noqa: PLC0415 - torch
    from mantrap.workflow.train import checkpoint_path, new_classifier  # noqa: PLC0415 - torch
    from mantrap.workflow.train import train as run  # noqa: PLC0415 - torch

    running.apply()
    how = build(Recipe, Spec.parse(training.recipe))
    found = images.load(split="train", seed=running.seed)
    rng = Rng(running.seed)
    model = new_classifier(training.arch, found, declared=declared.preprocessing(), rng=rng)
    model.module.to(device(running.device))
    if output.fresh:
        checkpoint_path(output.out).unlink(missing_ok=True)
    test = training.test or _own_test(images)
    measured = None if test is None else Images(images=test, resize=images.resize, channels=images.channels)
    card = run(
        model,
        found,
        output.out,
        test=None if measured is None else measured.load(split="test", seed=running.seed),
        recipe=how,
        rng=rng,
        progress=watching(quiet=running.quiet),
    )
    if output.json:
        sys.stdout.write(card.to_json())
        return 0
    sys.stdout.write(f"{output.out}: {_summary(card)}\n")
    return 0


def _own_test(images: Images) -> str | None:
    """The set that the images come from, where it is a named one with a test split of its own."""
    from mantrap.data import NAMED  # noqa: PLC0415 - torch

    name = images.images.partition("(")[0]
    return images.images if name in NAMED and images.split in (None, "train") else None


def _summary(card: ModelCard) -> str:
    training = card.training
    assert training is not None
    last = training.epochs[-1]
    text = f"{card.arch}\n{last.epoch} epochs ({training.stopped}), loss {last.loss:.4f}"
    if training.test_accuracy is None:
        return text
    rate = training.test_accuracy
    interval = f"{100 * rate.low:.2f} to {100 * rate.high:.2f}, {rate.total} images"
    return f"{text}\nAccuracy on {training.test_name}: {100 * rate.value:.2f} % ({interval})"
