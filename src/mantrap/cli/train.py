"""``mantrap train``."""

import sys
from pathlib import Path

from mantrap.cli.options import Declared, Images, Running
from mantrap.cli.progress import watching

_DECLARED, _RUNNING = Declared(), Running()


def train(
    *,
    images: Images,
    arch: str,
    out: Path,
    recipe: str = "recipe",
    test: str | None = None,
    declared: Declared = _DECLARED,
    fresh: bool = False,
    json: bool = False,
    running: Running = _RUNNING,
) -> int:
    """Train a model and save it with its card; the same command goes on after a kill.

    Parameters
    ----------
    arch: str
        Spec of an architecture; sizes that it leaves open are taken from the images.
    out: Path
        Where the weights go, NAME.safetensors; NAME.card.json lies beside it.
    recipe: str
        How to train, such as "recipe(epochs=5, optimizer='sgd(lr=0.1, momentum=0.9)')".
    test: str
        Images to measure the accuracy on; the test split of the same set where it has one.
    fresh: bool
        Start over where an unfinished training lies.
    json: bool
        Print the card on stdout, and nothing else.
    """
    from mantrap.core import Rng, Spec, build  # noqa: PLC0415 - torch
    from mantrap.models import device  # noqa: PLC0415 - torch
    from mantrap.training import Recipe  # noqa: PLC0415 - torch
    from mantrap.workflow.train import checkpoint_path, new_classifier  # noqa: PLC0415 - torch
    from mantrap.workflow.train import train as run  # noqa: PLC0415 - torch

    running.apply()
    how = build(Recipe, Spec.parse(recipe))
    found = images.load(split="train", seed=running.seed)
    rng = Rng(running.seed)
    model = new_classifier(arch, found, declared=declared.preprocessing(), rng=rng)
    model.module.to(device(running.device))
    if fresh:
        checkpoint_path(out).unlink(missing_ok=True)
    measured = None if test is None else Images(images=test, resize=images.resize, channels=images.channels)
    card = run(
        model,
        found,
        out,
        test=None if measured is None else measured.load(split="test", seed=running.seed),
        recipe=how,
        rng=rng,
        progress=watching(quiet=running.quiet),
    )
    if json:
        sys.stdout.write(card.to_json())
        return 0
    training = card.training
    assert training is not None
    last = training.epochs[-1]
    sys.stdout.write(f"{out}: {card.arch}\n{last.epoch} epochs ({training.stopped}), loss {last.loss:.4f}\n")
    if training.test_accuracy is not None:
        rate = training.test_accuracy
        interval = f"{rate.low:.2%} to {rate.high:.2%}, {rate.total} images"
        sys.stdout.write(f"Accuracy on {training.test_name}: {rate.value:.2%} ({interval})\n")
    return 0
