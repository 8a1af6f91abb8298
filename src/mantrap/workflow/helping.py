"""Processes that search along: they take pieces of an audit's searches that nobody is at, and keep them in its folder.

What comes of a piece does not depend on who made it, so an audit says the same however many help. Helpers that fail
only cost time.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

import torch

from mantrap.core import Classifier, ImageSet, Rng, Stage
from mantrap.errors import UsageError
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.looking import Looking
from mantrap.workflow.naming import by_name
from mantrap.workflow.parting import parted
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.stopwatch import Stopwatch

_START = (sys.executable, "-P", "-c", "from mantrap.workflow.helping import main; main()")
"""With nothing on the path that this process has not: ``-P`` keeps the working folder out."""


@dataclass(frozen=True)
class Task:
    """All that a helper has to know.

    Args:
        opened: Makes the classifier.
        images: Clean images, as they were given.
        plan: What the audit shall do.
        folder: Folder of the run.
        threads: For arithmetic.
        parent: The process that it helps; without it there is nothing to do.
    """

    opened: Callable[[], Classifier]
    images: ImageSet
    plan: Plan
    folder: Path
    threads: int
    parent: int


class Helpers:
    """The processes that help with one audit."""

    def __init__(self, running: list["subprocess.Popen[bytes]"]) -> None:
        self._running = running

    @property
    def working(self) -> int:
        """How many have not failed."""
        return sum(one.poll() in (None, 0) for one in self._running)


@contextmanager
def helped(model: Classifier, images: ImageSet, plan: Plan, source: Source, folder: Path) -> Iterator[Helpers]:
    """Let as many processes help inside as the plan wants beside this one.

    Args:
        model: The classifier in question.
        images: Clean images.
        plan: What the audit shall do.
        source: Where the model came from, and how it is opened anew.
        folder: Folder of the run.

    Raises:
        UsageError: Model or images cannot be sent to another process.
    """
    running: list[subprocess.Popen[bytes]] = []
    alone = replace(plan, references=(), workers=1)
    task = Task(
        source.opened or partial(_same, model), images, alone, folder.resolve(), torch.get_num_threads(), os.getpid()
    )
    null, environment = subprocess.DEVNULL, {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if source.opened is None:
        _check_importable(model)
    try:
        for _ in range(plan.workers - 1):
            with tempfile.TemporaryFile() as sent:
                _send(task, sent)
                one = subprocess.Popen(_START, stdin=sent, stdout=null, stderr=null, env=environment)  # noqa: S603 - ours
                running.append(one)
        yield Helpers(running)
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()


def _check_importable(model: Classifier) -> None:
    """Refuse a network whose code another process does not find."""
    if any(type(module).__module__ == "__main__" for module in model.module.modules()):
        raise UsageError(
            expected="a network whose class lies in a module that can be imported",
            got=f"{type(model.module).__name__}, a class of the program that runs",
            remedy="Put the class into a file of its own and import it, or use one worker.",
        )


def _send(task: Task, to: IO[bytes]) -> None:
    try:
        pickle.dump(task, to)
    except Exception as error:
        raise UsageError(
            expected="a model and images that other processes can have as well",
            got=f"what cannot be sent to them, {type(error).__name__}: {error}",
            remedy="Give the path of a file of weights, or use one worker.",
        ) from error
    to.seek(0)


def _same(model: Classifier) -> Classifier:
    return model


def main() -> None:
    """Help with the task that comes in, until nothing is left to help with."""
    task: Task = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    torch.set_num_threads(task.threads)
    model, images = by_name(task.opened(), task.images)
    scan, heldout = parted(images, Rng(task.plan.seed))
    looking = Looking(
        model, task.plan, RunFolder(task.folder, {}), Stopwatch(), Ledger(), _WhileNeeded(task.parent), helping=True
    )
    looking.help(scan, heldout)


class _WhileNeeded:
    """An observer that ends this process when the one that it helps is gone."""

    def __init__(self, parent: int) -> None:
        self._parent = parent

    @contextmanager
    def stage(self, name: str, total: float) -> Iterator[Stage]:
        """Begin a stage."""
        del name, total
        yield self

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Look whether somebody still waits."""
        del amount, note
        if os.getppid() != self._parent:
            raise SystemExit
