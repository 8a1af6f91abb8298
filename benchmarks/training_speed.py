"""How much faster training is with the channels last, and in bfloat16: ratios on the same work in one run.

    python benchmarks/training_speed.py

Each network trains on the same images for one epoch, the three ways in turn, several rounds; shown is the median CPU
time of each way, and what share of the time without either it is. One torch thread.
"""

import contextlib
import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

import torch

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.data import load
from mantrap.models import Preprocessing
from mantrap.training import Recipe, fit
from mantrap.workflow.train import new_classifier

TRAINING = importlib.import_module("mantrap.training.fit")  # the package has a function of that name
ROUNDS = 5
IMAGES = "signs(classes=10, size=32, train=1000)"
SINGLE, HALF = (Recipe(epochs=1, batch_size=32, precision=precision) for precision in ("float32", "bfloat16"))


@contextlib.contextmanager
def as_usual() -> Iterator[None]:
    """Nothing lies channels last inside."""
    with mock.patch.object(TRAINING, "channels_last", return_value=contextlib.nullcontext()):
        yield


WAYS: dict[str, tuple[Callable[[], contextlib.AbstractContextManager[None]], Recipe]] = {
    "as usual": (as_usual, SINGLE),
    "channels last": (contextlib.nullcontext, SINGLE),
    "channels last, bfloat16": (contextlib.nullcontext, HALF),
}


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    images = load(IMAGES, split="train")
    for arch in ("mnist_cnn", "gtsrb_cnn", "resnet8"):
        model = new_classifier(arch, images, declared=Preprocessing(), rng=Rng(0))
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS + 1):  # the first warms up
            for way, (layout, recipe) in WAYS.items():
                with layout():
                    times[way].append(_seconds(model, images, recipe))
        medians = {way: statistics.median(found[1:]) for way, found in times.items()}
        shown = (f"{way} {spent:.2f} s ({spent / medians['as usual']:.2f})" for way, spent in medians.items())
        print(f"{arch}: {', '.join(shown)}")


def _seconds(model: Classifier, images: ImageSet, recipe: Recipe) -> float:
    began = time.process_time()
    fit(model, images, recipe=recipe, rng=Rng(0))
    return time.process_time() - began


if __name__ == "__main__":
    main()
