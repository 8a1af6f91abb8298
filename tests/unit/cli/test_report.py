"""``mantrap report``: what a file is, it says itself."""

import json
import shutil
import subprocess
import sys

import pytest

from mantrap.records import AuditRecord
from mantrap.report import FORMS, render
from mantrap.workflow.compare_grids import compare_grids
from tests import attacked, gridded

GRID = gridded.record()
RECORDS = {
    "grid.json": GRID,
    "m.card.json": attacked.card(),
    "m.implant.json": attacked.implanted(),
    "measured.json": attacked.measured(),
    "compared.json": compare_grids(GRID, GRID, ("one", "two")),
}
"""What is saved under such names; repairs, guards, screenings and filters are tested beside their verbs."""


@pytest.mark.parametrize("style", [*FORMS[AuditRecord], "json"])
def test_a_report_in_every_format(mantrap, finished, tmp_path, style):
    run, raw = finished
    expected = render(AuditRecord.from_json(json.dumps(raw)), style)
    code, out, err = mantrap("report", run, "--format", style)
    assert (code, err) == (0, "")
    assert out == expected.rstrip("\n") + "\n"
    suffix = {"text": "txt"}.get(style, style)
    for words in (["-o", tmp_path / f"r.{suffix}"], ["--output", tmp_path / "other", "--format", style]):
        assert mantrap("report", run / "audit.json", *words) == (0, "", "")
        assert words[1].read_text() == expected


@pytest.mark.parametrize("name", RECORDS)
def test_each_kind_of_record_in_each_of_its_forms(mantrap, tmp_path, name):
    record = RECORDS[name]
    (tmp_path / name).write_text(record.to_json())

    assert mantrap("report", tmp_path / name) == (0, f"{render(record, 'text')}\n", "")
    for form in (*FORMS[type(record)], "json"):
        assert mantrap("report", tmp_path / name, "--format", form, "-o", tmp_path / "made") == (0, "", "")
        assert (tmp_path / "made").read_text() == render(record, form)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_known_by_what_it_says_and_not_by_its_name(mantrap, tmp_path, name):
    for other in ("audit.json", "x.cleanse.json", "screen.json", "grid.json", "any.thing"):
        (tmp_path / other).write_text(RECORDS[name].to_json())
        assert mantrap("report", tmp_path / other)[1] == f"{render(RECORDS[name], 'text')}\n"


@pytest.mark.parametrize("name", ["audit.json", "screen.json", "grid.json"])
def test_the_folder_of_a_run_is_its_record(mantrap, finished, tmp_path, name):
    shutil.copy(finished[0] / "audit.json", tmp_path / name)

    assert mantrap("report", tmp_path) == mantrap("report", finished[0])


def test_a_report_needs_no_torch(finished):
    program = (
        "import sys; from mantrap.cli import main; code = main(['report', sys.argv[1]]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, finished[0]], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_report_of_nothing_names_what_is_missing(mantrap, tmp_path):
    path = tmp_path / "x.cleanse.json"
    code, out, err = mantrap("report", path)
    assert (code, out) == (2, "")
    assert "expected a record of the kind audit, cleanse, " in err
    assert f" or model_card at {path}, got nothing. Correct the path." in err


def test_a_record_that_has_no_report_is_refused_as_such(mantrap, tmp_path):
    path = tmp_path / "x.truth.json"
    path.write_text('{"schema_version": "1.0", "kind": "ground_truth"}')
    code, out, err = mantrap("report", path)
    assert (code, out) == (2, "")
    assert f" or model_card in {path}, got one of the kind 'ground_truth'. Give another file." in err


def test_a_form_that_a_record_does_not_have_writes_nothing(mantrap, tmp_path):
    (tmp_path / "m.implant.json").write_text(RECORDS["m.implant.json"].to_json())
    code, out, err = mantrap("report", tmp_path / "m.implant.json", "-o", tmp_path / "m.html")
    assert (code, out) == (2, "")
    assert "expected text or json of a record of the kind implant, got html. Choose another format." in err
    assert not (tmp_path / "m.html").exists()


def test_a_report_whose_format_nobody_names(mantrap, finished, tmp_path):
    code, out, err = mantrap("report", finished[0], "-o", tmp_path / "report.docx")
    assert (code, out) == (2, "")
    assert "Give --format" in err


@pytest.mark.parametrize(
    ("content", "expected", "remedy"),
    [
        (b"{", "a record in JSON in {}, got text that does not parse (", "Give a file that mantrap wrote."),
        (b"[]", "a record in JSON in {}, got []", "Give a file that mantrap wrote."),
        (b"\xff\xfe\x00", "a record in {}, got 'utf-8' codec can't", "Give a file that mantrap wrote, or its folder."),
        (b"{}", "a record that says of which kind it is in {}, got one that", "Give a file that mantrap wrote."),
        (b'{"kind": 3}', "a record that says of which kind it is in {}, got one", "Give a file that mantrap wrote."),
        (b'{"kind": "audit"}', "the fields [", "The record is damaged; make it again."),
        (
            b'{"schema_version": "99.0", "kind": "of tomorrow"}',
            "schema version 1.0 in {}, got '99.0'",
            "Read it with the version of mantrap that wrote it.",
        ),
    ],
)
def test_a_report_of_what_is_no_record_is_refused(mantrap, tmp_path, content, expected, remedy):
    path = tmp_path / "audit.json"
    path.write_bytes(content)
    for run in (path, tmp_path):
        code, out, err = mantrap("report", run)
        assert (code, out) == (4, "")
        assert err.startswith(f"mantrap: expected {expected.format(path)}")
        assert err.endswith(f" {remedy}\n")
        assert str(path) in err
        assert err.count("\n") == 1
