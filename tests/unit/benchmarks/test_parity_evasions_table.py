"""The table of adversarial examples: means over seeds, what is missing said, published figures beside them."""

import importlib

import pytest

from mantrap.ops.intervals import wilson


@pytest.fixture(scope="module")
def table(root):
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(root / "benchmarks")
        return importlib.import_module("parity_evasions_table")


def cell(table, name, fgsm, confidence):
    return table.EvasionCell(
        name=name,
        clean=wilson(2, 100),
        fgsm=wilson(fgsm, 100),
        confidence=confidence,
        pgd=wilson(100, 100),
        filtered={"jpeg": wilson(50, 100), "blur": wilson(fgsm, 100)},
        cpu_seconds=1.0,
    )


def row(table, results):
    return [part.strip() for part in table.table(results).splitlines()[2].strip("|").split("|")]


def test_a_row_has_the_means_and_the_ends_of_its_seeds(table):
    found = row(table, {f"evasions-softmax-s{k}": cell(table, "x", 90 + 5 * k, 0.7 + 0.1 * k) for k in range(3)})

    assert found == [
        "softmax",
        "2.00 (2.00 to 2.00)",
        "95.00 (90.00 to 100.00)",
        "80.0",
        "99.9 at 79.3",
        "100.00 (100.00 to 100.00)",
        "50.0, 95.0",
    ]


def test_what_is_not_finished_is_said_and_so_is_that_nothing_was_published(table):
    some = {"evasions-relu-s0": cell(table, "x", 90, None), "evasions-relu-s1": None}

    assert row(table, some)[0] == "relu (1 of 2 seeds)"
    assert row(table, some)[3:5] == ["-", "-"]
    assert row(table, {"evasions-maxout-s0": None})[:2] == ["maxout", "not finished"]
    assert row(table, {"evasions-maxout-s0": None})[4] == "89.4 at 97.6"
