"""Engines of one machine: the same results in the same order, whichever is chosen."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch

from mantrap.core import require

Item = TypeVar("Item")
Result = TypeVar("Result")


@runtime_checkable
class Engine(Protocol):
    """Runs a task for each of many items that know nothing of each other."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The result for each item, in the order of the items.

        What a task raises is raised here, when its result is due; tasks that were not begun are then dropped.
        """


@dataclass(frozen=True, kw_only=True)
class Here:
    """One task after another, in this process."""

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Each result as it is asked for."""
        return map(task, items)


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Several tasks at a time, each in a process of its own.

    The processes are started afresh, so task, items and results have to be picklable, and each has one thread for its
    arithmetic.

    Args:
        workers: How many at a time.
    """

    workers: int = 2

    def __post_init__(self) -> None:
        require(self.workers >= 1, field="workers", expected="of at least 1", got=self.workers)

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Each result as soon as it and all before it are there."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))
        try:
            futures: list[Future[Result]] = [pool.submit(task, item) for item in items]
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
