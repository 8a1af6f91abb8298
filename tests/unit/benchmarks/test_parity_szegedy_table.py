"""The tables of what carries over: means over seeds, and what is not finished said."""

import dataclasses
import importlib

import pytest

from mantrap.evade import Fgsm
from mantrap.workflow.plan import Source
from mantrap.workflow.transfer import transfer
from mantrap.workflow.transferring import Transferring
from tests.evading import TWO


@pytest.fixture(scope="module")
def table(root):
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(root / "benchmarks")
        return importlib.import_module("parity_szegedy_table")


@pytest.fixture(scope="module")
def record():
    models = tuple((Source(name, name), TWO.model()) for name in ("FC10(1)", "CNN"))
    return transfer(Transferring(models=models, images=TWO.images(20, "transfer"), evasion=Fgsm(eps=0.28)))


def test_a_table_has_a_row_and_a_column_for_each_network(table, record):
    head, _, first, second = table.table({"szegedy-networks-s0": record}).splitlines()
    shown = f"{record.rows[0].distortion:.3f}"

    assert head == "| networks | clean error, % | distortion | published | FC10(1) | CNN |"
    assert first == f"| FC10(1) | 0.0 | {shown} | .14 | 100.0 (0.0; 1.00) | 100.0 (0.0; 1.00) |"
    assert second == f"| CNN | 0.0 | {shown} | - | 100.0 (0.0; 1.00) | 100.0 (0.0; 1.00) |"


def test_it_has_the_means_of_its_seeds(table, record):
    rows = tuple(dataclasses.replace(row, distortion=3 * row.distortion) for row in record.rows)
    other = dataclasses.replace(record, rows=rows)
    first = table.table({"szegedy-networks-s0": record, "szegedy-networks-s1": other}).splitlines()[2]

    assert f"| {2 * record.rows[0].distortion:.3f} |" in first


def test_what_is_not_finished_is_said(table, record):
    some = table.table({"szegedy-networks-s0": record, "szegedy-networks-s1": None, "szegedy-halves-s0": None})

    assert some.startswith("| networks (1 of 2 seeds) |")
    assert some.endswith("| halves |\n|---|\n| not finished |")
