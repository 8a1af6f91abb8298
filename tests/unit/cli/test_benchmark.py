"""``mantrap benchmark`` and ``mantrap compare``, from the words to the exit code."""

import csv
import json
import shutil
import subprocess
import sys

import pytest

from mantrap.cli import main
from mantrap.records import CellState, ComparedRecord, GridRecord
from mantrap.report import (
    render_compared_html,
    render_compared_text,
    render_grid_csv,
    render_grid_html,
    render_grid_text,
)
from mantrap.workflow import grid_work
from mantrap.workflow.grid_jobs import What
from tests import gridding, headed

TOML = """
data = ["{data}"]
models = ["{arch}"]
attacks = ["badnets(target=1, rate=0.2)"]
detectors = ["{detector}"]
repairs = ["fine_tuning(updates=2)"]
screens = ["scan"]
seeds = [{seed}]
[training]
images = 120
recipe = "recipe(epochs=1, batch_size=32)"
[defender]
images = 80
[test]
images = 60
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """``grid.toml``, and the folder ``grid`` of it finished; nobody may change them."""
    folder = tmp_path_factory.mktemp("ground")
    write_grid(folder, folder, "grid.toml")
    assert main(["benchmark", str(folder / "grid.toml"), "--out", str(folder / "grid"), "--quiet"]) == 0
    return folder


def write_grid(folder, data, name, **changes):
    given = {"data": gridding.write_images(data), "arch": gridding.ARCH, "detector": headed.MARGINS, "seed": 0}
    (folder / name).write_text(TOML.format(**(given | changes)))
    return folder / name


def stable(text):
    return {k: v for k, v in json.loads(text).items() if k not in ("volatile", "command")}


@pytest.fixture
def record(ground):
    return GridRecord.from_json((ground / "grid" / "grid.json").read_text())


def test_it_writes_record_table_and_report_and_prints_what_is_there(ground, mantrap, tmp_path, record):
    shutil.copytree(ground / "grid", tmp_path / "grid")
    code, out, err = mantrap("benchmark", ground / "grid.toml", "--out", tmp_path / "grid", "--quiet")
    again = GridRecord.from_json((tmp_path / "grid" / "grid.json").read_text())

    assert (code, err) == (0, "")
    assert out == f"{render_grid_text(record)}\n\nReport: {tmp_path / 'grid' / 'report.html'}\n"
    assert (tmp_path / "grid" / "report.html").read_text() == render_grid_html(again)
    assert (tmp_path / "grid" / "grid.csv").read_text() == render_grid_csv(again)
    assert len(list(csv.DictReader((tmp_path / "grid" / "grid.csv").read_text().splitlines()))) == 5
    assert stable(again.to_json()) == stable(record.to_json())
    assert again.command == f"mantrap benchmark {ground / 'grid.toml'} --out {tmp_path / 'grid'}"


def test_json_prints_the_record_and_nothing_else(ground, mantrap, tmp_path):
    shutil.copytree(ground / "grid", tmp_path / "grid")
    code, out, _ = mantrap("benchmark", ground / "grid.toml", "--out", tmp_path / "grid", "--json")

    assert code == 0
    assert out == (tmp_path / "grid" / "grid.json").read_text()


def test_a_part_of_it_is_made_where_somebody_asks_for_a_part(ground, mantrap, tmp_path):
    words = ["benchmark", ground / "grid.toml", "--out", tmp_path / "grid", "--json", "--only", "*/clean/scan/*"]
    code, out, _ = mantrap(*words)
    states = [cell.state for cell in GridRecord.from_json(out).cells]

    assert code == 0
    assert states.count(CellState.DONE) == 1
    assert states.count(CellState.NOT_RUN) == 4


def test_a_failure_is_exit_code_5_with_the_record_written_first(ground, mantrap, tmp_path, monkeypatch):
    monkeypatch.setitem(grid_work._MAKERS, What.REPAIR, lambda *_: 1 / 0)
    words = ["benchmark", ground / "grid.toml", "--out", tmp_path / "grid", "--only", "repair"]
    code, out, err = mantrap(*words)

    assert (code, err) == (5, "")
    assert "Failed\n  " in out
    assert "ZeroDivisionError: division by zero" in (tmp_path / "grid" / "report.html").read_text()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert mantrap(*words)[0] == 5
    assert mantrap(*words, "--again")[0] == 0


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("data = [", 2, "expected TOML in"),
        ("dat = []", 2, "got 'dat'. Did you mean data?"),
        ('data = ["no/such"]\nmodels = ["mlp"]\nattacks = []\ndetectors = ["audit"]', 2, "which is not there"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(mantrap, tmp_path, text, code, message):
    (tmp_path / "grid.toml").write_text(text)
    got, out, err = mantrap("benchmark", tmp_path / "grid.toml", "--out", tmp_path / "out")

    assert (got, out) == (code, "")
    assert err.startswith("mantrap: expected ")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_finished_grid_is_shown_again_in_every_form(ground, mantrap, tmp_path, record):
    assert mantrap("report", ground / "grid") == (0, f"{render_grid_text(record)}\n", "")
    assert mantrap("report", ground / "grid" / "grid.json", "--format", "json")[1] == record.to_json()
    assert mantrap("report", ground / "grid", "-o", tmp_path / "again.html")[0] == 0
    assert mantrap("report", ground / "grid", "-o", tmp_path / "again.csv")[0] == 0
    assert (tmp_path / "again.html").read_text() == render_grid_html(record)
    assert (tmp_path / "again.csv").read_text() == render_grid_csv(record)


def test_only_a_grid_is_a_table(finished, mantrap):
    code, _, err = mantrap("report", finished[0], "--format", "csv")

    assert code == 2
    assert "expected text or html or json of a record of the kind audit, got csv. Choose another format." in err


def test_a_grid_beside_itself_is_exit_code_0(ground, mantrap):
    code, out, err = mantrap("compare", ground / "grid", ground / "grid" / "grid.json")

    assert (code, err) == (0, "")
    assert out.startswith("THE SAME FINDINGS  ")


def test_two_grids_that_differ_are_exit_code_1(ground, mantrap, tmp_path):
    other = write_grid(tmp_path, ground, "other.toml", seed=1)
    mantrap("benchmark", other, "--out", tmp_path / "other", "--only", "scan", "--quiet")
    page = tmp_path / "page.html"
    code, out, _ = mantrap("compare", ground / "grid", tmp_path / "other", "--page", page, "--json")
    found = ComparedRecord.from_json(out)

    assert code == 1
    assert found.compared == 0
    assert len(found.only_first) == 7
    assert len(found.only_second) == 4
    assert page.read_text() == render_compared_html(found)
    assert "<h1>Different findings</h1>" in page.read_text()
    assert mantrap("compare", ground / "grid", tmp_path / "other", "--page", page)[1] == (
        f"{render_compared_text(found)}\n\nReport: {page}\n"
    )


def test_two_audits_are_compared(audit, mantrap, tmp_path):
    for model in ("planted", "clean"):
        audit(tmp_path / model, model=model, detector=headed.MARGINS)
    code, out, _ = mantrap("compare", tmp_path / "planted", tmp_path / "clean")
    again, told, _ = mantrap("compare", tmp_path / "planted", tmp_path / "clean", "--json")
    same, _, _ = mantrap("compare", tmp_path / "planted", tmp_path / "planted" / "audit.json")

    assert (code, again, same) == (1, 1, 0)
    assert "Another model, the same images" in out
    assert out == f"{render_compared_text(ComparedRecord.from_json(told))}\n"


def test_what_cannot_be_compared_is_one_clear_error(ground, finished, mantrap, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"kind": "screen"}')
    for words, code, message in (
        ((ground / "grid", finished[0]), 2, "expected two audits or two grids, got a record of the kind grid and one"),
        ((ground / "grid", tmp_path / "none"), 2, f"a record of the kind audit or grid at {tmp_path / 'none'}, got no"),
        ((tmp_path, tmp_path), 2, f"transfer.json or grid.json in {tmp_path}, got none of them"),
        ((tmp_path / "broken.json", finished[0]), 4, f"expected a record in JSON in {tmp_path / 'broken.json'}"),
        (
            (finished[0], tmp_path / "other.json"),
            2,
            f"expected a record of the kind audit or grid in {tmp_path / 'other.json'}, got one of the kind 'screen'",
        ),
    ):
        got, out, err = mantrap("compare", *words)
        assert (got, out) == (code, ""), words
        assert err.startswith("mantrap: expected ")
        assert message in err


def test_comparing_and_showing_a_grid_costs_no_torch(ground, finished):
    program = (
        "import sys; from mantrap.cli import main; codes = [main(['compare', p, p]) for p in sys.argv[1:]]; "
        "codes.append(main(['report', sys.argv[1]])); assert codes == [0, 0, 0], codes; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(ground / "grid"), str(finished[0])], check=True, stdout=subprocess.DEVNULL
    )
