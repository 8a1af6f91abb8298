"""``mantrap audit --control`` and ``--no-control``."""

import json
import shlex

import pytest

from tests import headed, stage


def stable(out):
    """A record without what may differ."""
    return {key: value for key, value in json.loads(out).items() if key != "volatile"}


def check(record):
    (found,) = [c for c in record["checks"] if c["name"] == "control"]
    return found


@pytest.mark.parametrize("flag", ["--control", "--no-control", None])
def test_the_wish_is_followed_and_the_recorded_command_repeats_it(mantrap, audit, tmp_path, flag):
    code, out, err = audit(tmp_path / "first", *filter(None, [flag]), "--json", detector=stage.QUICK)
    record = stable(out)
    command = shlex.split(record["reproduction"]["command"])
    _, again, _ = mantrap(*command[1:], "--out", tmp_path / "second", "--json")

    assert (code, err) == (1, "")
    assert (record["control"] is not None) is (flag == "--control")
    assert [word for word in command if word.endswith("control")] == ([flag] if flag else [])
    assert stable(again) == record


@pytest.mark.parametrize(("flag", "there"), [(None, True), ("--no-control", False)])
def test_without_a_word_there_is_one_where_it_decides(audit, tmp_path, flag, there):
    code, out, _ = audit(tmp_path / "run", *filter(None, [flag]), "--json", model="clean", detector=stage.QUICK)
    record = json.loads(out)

    assert (code, record["verdict"]) == (0, "NO_EVIDENCE")
    assert (record["control"] is not None) is there
    assert check(record)["status"] == ("passed" if there else "skipped")


def test_what_the_search_cannot_find_is_no_all_clear(audit, tmp_path, monkeypatch):
    monkeypatch.setattr("mantrap.workflow.control.NOTICED_BELOW", 0.0)
    code, out, _ = audit(tmp_path / "run", "--json", model="clean", detector=stage.QUICK)
    record = json.loads(out)

    assert (code, record["verdict"], record["control"]["found"]) == (3, "INCONCLUSIVE", False)
    assert record["barring"] == [check(record)["message"]]


def test_the_page_knows_of_it(audit, tmp_path):
    audit(tmp_path / "run", model="clean", detector=stage.QUICK)
    page = (tmp_path / "run" / "report.html").read_text()

    assert "A patch of 2x2 pixels was taught to a copy of this model" in page


def test_who_looks_for_no_patches_is_audited_all_the_same(audit, tmp_path):
    _, out, _ = audit(tmp_path / "run", "--control", "--json", model="clean", detector=headed.MARGINS)

    assert check(json.loads(out)) == {
        "name": "control",
        "status": "skipped",
        "message": "No control was planted: no detector looks for patches.",
    }
