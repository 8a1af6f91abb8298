"""Randomness that is passed by hand: a seed and a path of names."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Rng:
    """A named stream of random numbers.

    ``rng.child("neural_cleanse", target=3)`` is another stream, the same on every machine and in every order of calls,
    so that batching, worker count and resuming change nothing. A stream is a value: asking twice gives the same
    numbers; derive a child for every separate use.

    Example:
        >>> Rng(0).child("a").integer() == Rng(0).child("a").integer()
        True
        >>> Rng(0).child("a", target=1).integer() == Rng(0).child("a", target=2).integer()
        False
    """

    seed: int
    path: tuple[str, ...] = ()

    def child(self, name: str, **keys: int | str) -> "Rng":
        """The stream of this name below this one; ``keys`` tell siblings apart."""
        step = name + "".join(f",{k}={v}" for k, v in sorted(keys.items()))
        return Rng(self.seed, (*self.path, step))

    def integer(self) -> int:
        """A number in [0, 2**63) that stands for this stream."""
        text = "/".join((str(self.seed), *self.path))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def torch(self) -> torch.Generator:
        """A fresh generator at the start of this stream, on the CPU (draw there, then move)."""
        return torch.Generator().manual_seed(self.integer())

    def numpy(self) -> np.random.Generator:
        """A fresh NumPy generator at the start of this stream."""
        return np.random.default_rng(self.integer())

    @contextmanager
    def as_global(self) -> Iterator[None]:
        """Torch's global stream is this one inside, and untouched afterwards: for code that takes no generator.

        Dropout and the initialisation of weights draw from the global stream; this is the only way they are called.
        """
        with torch.random.fork_rng():
            torch.manual_seed(self.integer())
            yield
