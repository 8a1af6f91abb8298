"""Every engine gives the same results in the same order, and fails in the same way."""

import os
import time

import pytest
import torch

from mantrap.engine import Here, Processes
from mantrap.errors import SpecError

ENGINES = [Here(), Processes(workers=2)]
every_engine = pytest.mark.parametrize("engine", ENGINES, ids=str)


def square(number: int) -> int:
    if number == 0:
        time.sleep(0.2)  # the first is the last to be finished
    return number * number


def divide(number: int) -> float:
    return 1 / number


def where(_: int) -> tuple[int, int]:
    return os.getpid(), torch.get_num_threads()


@every_engine
def test_results_come_in_the_order_of_the_items(engine):
    assert list(engine.map(square, range(5))) == [0, 1, 4, 9, 16]


@every_engine
def test_no_items_no_results(engine):
    assert list(engine.map(square, [])) == []


@every_engine
def test_what_a_task_raises_is_raised_when_its_result_is_due(engine):
    results = engine.map(divide, [1, 2, 0, 4])

    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_processes_are_others_and_have_one_thread_each():
    found = set(Processes(workers=2).map(where, range(4)))

    assert os.getpid() not in {pid for pid, _ in found}
    assert {threads for _, threads in found} == {1}


def test_there_must_be_a_worker():
    with pytest.raises(SpecError, match="workers"):
        Processes(workers=0)
