"""How many images go through a network, and through how many of them a gradient comes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from mantrap.core import Classifier, Cost


class Counter:
    """Counts what a network is asked while :func:`counting`."""

    def __init__(self) -> None:
        self._asked = self._returned = 0

    @property
    def cost(self) -> Cost:
        """What it has come to so far."""
        return Cost(forward=self._asked, backward=self._returned)

    def hears(self, _module: Any, _inputs: Any, logits: Any) -> None:
        """A forward pass has ended."""
        if not isinstance(logits, Tensor):
            return
        images = len(logits)
        self._asked += images
        if logits.requires_grad:
            logits.register_hook(lambda _: self._comes_back(images))

    def _comes_back(self, images: int) -> None:
        self._returned += images


@contextmanager
def counting(model: Classifier) -> Iterator[Counter]:
    """Inside, all that the model is asked is counted; several gradients of one answer count several times."""
    counter = Counter()
    handle = model.module.register_forward_hook(counter.hears)
    try:
        yield counter
    finally:
        handle.remove()
