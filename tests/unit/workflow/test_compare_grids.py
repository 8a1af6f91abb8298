"""Two grids side by side: what they began with, what both have and differs, and what only one has."""

import dataclasses

import pytest

from mantrap.ops.intervals import paired_difference, unpaired_difference, wilson
from mantrap.records import CellState, ComparedRecord
from mantrap.workflow.compare_grids import compare_grids
from tests import gridded
from tests.gridded import ATTACK, DATA

NAMES = ("first/", "second/")


@pytest.fixture
def record():
    return gridded.record()


def compared(first, second):
    return compare_grids(first, second, NAMES)


def with_cell(record, number, **changes):
    cells = list(record.cells)
    cells[number] = dataclasses.replace(cells[number], **changes)
    return dataclasses.replace(record, cells=tuple(cells))


def facts(found):
    return [(change.about, change.what, change.first, change.second) for change in found.changes]


def test_a_grid_beside_itself_has_the_same_findings(record):
    found = compared(record, record)

    assert found.findings_same
    assert (found.changes, found.only_first, found.only_second) == ((), (), ())
    assert found.compared == 4 + 10  # models, and all cells that somebody has run
    assert all(setting.same for setting in found.settings)
    assert found.headline == "Of 14 models and cells that both grids have, none differs."
    assert (found.of, found.first, found.second) == ("grids", *NAMES)


def test_seconds_and_dates_do_not_count(record):
    volatile = dataclasses.replace(record.volatile, started="2027-01-01", cpu_seconds={})

    assert compared(record, dataclasses.replace(record, volatile=volatile, command="another")).findings_same


def test_a_share_that_differs_comes_with_the_interval_of_the_difference(record):
    other = with_cell(record, 6, **gridded.repaired(45))
    found = compared(record, other)
    expected = unpaired_difference(wilson(45, 50), wilson(5, 50))

    assert facts(found) == [
        (f"{DATA}/mlp/{ATTACK}/unlearning/s0", "success after", "10.00 % (4.35 to 21.36)", "90.00 % (78.64 to 95.65)")
    ]
    change = found.changes[0]
    assert (change.difference, change.low, change.high) == (expected.value, expected.low, expected.high)
    assert change.sure
    assert not found.findings_same
    assert (
        found.headline
        == "Of 14 models and cells that both grids have, 1 differ, 1 of them beyond the interval at 95 %."
    )


def test_a_small_difference_is_not_sure(record):
    (change,) = compared(record, with_cell(record, 6, **gridded.repaired(6))).changes

    assert change.low < 0 < change.high
    assert not change.sure


def test_a_paired_difference_is_no_finding_of_its_own(record):
    other = paired_difference(both=87, first=2, second=3, neither=8)  # of the same shares
    repaired = dataclasses.replace(record.cells[6].repaired, accuracy=other, control_accuracy=other)

    assert repaired.accuracy != record.cells[6].repaired.accuracy
    assert compared(record, with_cell(record, 6, repaired=repaired)).findings_same


def test_an_area_has_a_difference_without_an_interval(record):
    screened = dataclasses.replace(record.cells[9].screened, area=gridded.area_under([9, 8], [1, 2]))
    (change,) = compared(record, with_cell(record, 9, screened=screened)).changes

    assert change.what == "area"
    assert change.difference == pytest.approx(1 - gridded.AREA.value)
    assert (change.low, change.high, change.sure) == (None, None, False)


def test_verdicts_p_values_labels_and_states_are_compared(record):
    detected = dataclasses.replace(
        record.cells[2].detected, verdict=gridded.Verdict.INCONCLUSIVE, p_value=0.5, first=3, suspects=()
    )
    other = with_cell(with_cell(record, 2, detected=detected), 8, state=CellState.DONE, failure="")
    name = f"{DATA}/mlp/{ATTACK}"

    assert facts(compared(record, other)) == [
        (f"{name}/audit/s0", "verdict", "SUSPICIOUS", "INCONCLUSIVE"),
        (f"{name}/audit/s0", "p-value", "2.5e-05", "0.5"),
        (f"{name}/audit/s0", "stands out most", "1", "3"),
        (f"{name}/audit/s0", "labels with a trigger", "1", "none"),
        (f"{name}/scan/s0", "state", "failed", "done"),
        (f"{name}/scan/s0", "failure", record.cells[8].failure, ""),
    ]


def test_models_are_compared_by_weights_accuracy_and_success(record):
    models = (*record.models[:3], gridded.model(ATTACK, 1, sha256="f" * 64, accuracy=wilson(80, 100), measures=()))

    assert facts(compared(record, dataclasses.replace(record, models=models))) == [
        (f"model {DATA}/mlp/{ATTACK}/s1", "model accuracy", "91.00 % (83.77 to 95.19)", "80.00 % (71.12 to 86.66)"),
        (f"model {DATA}/mlp/{ATTACK}/s1", "model success", "82.00 % (69.20 to 90.23)", ""),
        (f"model {DATA}/mlp/{ATTACK}/s1", "weights", f"sha256 {'1' * 16}...", f"sha256 {'f' * 16}..."),
    ]


def test_what_one_of_them_has_alone_is_named_and_counts(record):
    fewer = dataclasses.replace(record, cells=record.cells[:3], models=record.models[:3])
    found = compared(record, fewer)

    assert len(found.only_first) == 7 + 1
    assert found.only_first[0] == f"model {DATA}/mlp/{ATTACK}/s1"
    assert found.only_second == ()
    assert not found.findings_same
    assert found.headline.endswith("none differs; 8 only the first has.")
    assert compared(fewer, record).only_second == found.only_first


def test_cells_that_nobody_has_run_are_in_neither(record):
    names = (
        *compared(record, gridded.record(cells=())).only_first,
        *compared(gridded.record(cells=()), record).only_second,
    )

    assert f"{DATA}/mlp/clean/scan/s0" not in names
    assert len(names) == 20


def test_settings_versions_and_images_that_differ_are_said_and_are_no_findings(record):
    plan = dataclasses.replace(record.plan, recipe="recipe(epochs=3)", fpr=0.1)
    images = {f"{DATA}/s0 training": "cd" * 32, f"{DATA}/s7 training": "ef" * 32}
    found = compared(record, dataclasses.replace(record, plan=plan, versions={"torch": "9"}, images=images))
    settings = {setting.what: setting for setting in found.settings}

    assert found.findings_same
    assert {what for what, one in settings.items() if not one.same} == {
        "training",
        "defender",
        "versions",
        f"images of {DATA}/s0",
    }
    assert settings["training"].second.startswith("all images, recipe(epochs=3)")
    assert settings["versions"].first == "torch 2.13"


def test_it_comes_back_from_its_json(record):
    found = compared(record, with_cell(record, 6, **gridded.repaired(45)))

    assert ComparedRecord.from_json(found.to_json()) == found
