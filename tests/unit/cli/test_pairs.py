"""``mantrap audit --pairs``: every pair of classes is scanned as well, before the usual detectors look."""

import json
import shlex

import pytest

from mantrap.detect import DEFAULT_DETECTORS, DETECTORS, PairScan
from tests import headed, sourced


@pytest.fixture
def scans_quickly(monkeypatch):
    """Whoever asks for ``pair_scan`` gets the short one."""
    create = DETECTORS.create
    monkeypatch.setattr(DETECTORS, "create", lambda spec: create(sourced.QUICK if spec == PairScan.name else spec))


@pytest.fixture
def audit_sourced(mantrap, place):
    """Audit the model that takes one class for another."""
    model = sourced.write_model(place).name
    given = ["audit", model, "--arch", sourced.ARCH, "--images", "tiles120.npz", "--no-control", "--json"]
    return lambda out, *words: mantrap(*given, *words, "--out", out)


@pytest.mark.usefixtures("scans_quickly")
def test_the_pair_is_found_and_the_recorded_command_finds_it_again(audit_sourced, mantrap, tmp_path):
    code, out, err = audit_sourced(tmp_path / "first", "--pairs", "--detector", headed.MARGINS)
    first = json.loads(out)
    command = first["reproduction"]["command"]

    assert (code, err) == (1, "")
    assert (first["pair"]["label"], first["pair"]["to"]) == (sourced.SOURCE, sourced.TARGET)
    assert [d["detector"] for d in first["detections"]] == [sourced.QUICK, headed.MARGINS]
    assert "--pairs" not in command
    _, out, _ = mantrap(*shlex.split(command)[1:], "--out", tmp_path / "second", "--json")
    second = json.loads(out)
    assert {k: v for k, v in first.items() if k != "volatile"} == {k: v for k, v in second.items() if k != "volatile"}


def test_without_it_nobody_scans_pairs(audit_sourced, tmp_path):
    code, out, _ = audit_sourced(tmp_path / "run", "--detector", headed.MARGINS)
    record = json.loads(out)

    assert code != 1
    assert record["pair"] is None
    assert [d["detector"] for d in record["detections"]] == [headed.MARGINS]


def test_without_other_detectors_it_comes_before_the_usual_ones(audit_sourced, tmp_path, monkeypatch):
    asked = []
    create = DETECTORS.create
    monkeypatch.setattr(DETECTORS, "create", lambda spec: (asked.append(spec), create(headed.MARGINS))[1])
    audit_sourced(tmp_path / "run", "--pairs", "--no-copy")

    assert asked == [PairScan.name, *DEFAULT_DETECTORS]


@pytest.mark.parametrize(
    ("words", "last"),
    [(["--budget", "1h"], PairScan.name), (["--budget", "1h", "--no-pairs"], None), ([], None)],
    ids=["a budget", "a budget, but not wanted", "no budget"],
)
def test_with_the_usual_detectors_and_a_budget_it_comes_last(audit_sourced, tmp_path, monkeypatch, words, last):
    asked = []
    create = DETECTORS.create
    monkeypatch.setattr(DETECTORS, "create", lambda spec: (asked.append(spec), create(headed.MARGINS))[1])
    audit_sourced(tmp_path / "run", *words, "--no-copy")

    assert asked == [*DEFAULT_DETECTORS, *([last] if last else [])]


@pytest.mark.usefixtures("scans_quickly")
def test_the_recorded_command_of_an_audit_in_a_budget_leaves_it_room_again(audit_sourced, tmp_path):
    _, out, _ = audit_sourced(tmp_path / "run", "--budget", "1h", "--copy")
    record = json.loads(out)

    assert record["pair"] is not None
    assert "--budget 1h" in record["reproduction"]["command"]
    assert "--detector" not in record["reproduction"]["command"]
