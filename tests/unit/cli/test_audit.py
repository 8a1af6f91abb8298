"""``mantrap audit``: the verdict is the exit code, stdout is the answer and nothing else."""

import json
import shlex
import sys

import pytest

from mantrap.cli.options import Declared
from mantrap.detect import AllToAll
from mantrap.models import Preprocessing
from mantrap.records import AuditRecord
from mantrap.report import render_html, render_text
from tests import stage


@pytest.mark.parametrize(
    ("model", "count", "code", "verdict"),
    [
        ("clean", 120, 0, "NO_EVIDENCE"),
        ("planted", 120, 1, "SUSPICIOUS"),
        ("clean", 60, 3, "INCONCLUSIVE"),
    ],
)
def test_the_verdict_is_the_exit_code(audit, tmp_path, model, count, code, verdict):
    run = tmp_path / "run"
    got, out, err = audit(run, "--json", model=model, count=count, detector=stage.QUICK)
    assert (got, err) == (code, "")
    record = AuditRecord.from_json(out)
    assert record.verdict == verdict
    assert (run / "audit.json").read_text() == out
    assert (run / "report.html").read_text() == render_html(record)


def test_the_record_has_what_later_tools_build_on(audit, tmp_path):
    code, out, _ = audit(tmp_path / "run", "--json", detector=stage.QUICK)
    raw = json.loads(out)
    assert code == 1
    assert {"schema_version", "verdict", "suspects", "labels", "model", "data", "cost", "volatile"} <= raw.keys()
    assert (raw["suspects"][0]["label"], raw["suspects"][0]["class_name"]) == (4, "4")
    assert {"label", "norm", "index", "success", "censored"} <= raw["labels"][0].keys()
    assert [len(raw["labels"]), raw["model"]["file_name"]] == [6, "planted.safetensors"]
    assert all({"stage", "cpu_seconds", "wall_seconds"} == s.keys() for s in raw["volatile"]["stages"])


def test_without_json_the_report_is_shown_as_text_and_the_page_is_named(audit, tmp_path):
    run = tmp_path / "run"
    code, out, err = audit(run)
    record = AuditRecord.from_json((run / "audit.json").read_text())
    assert (code, err) == (3, "")
    assert out == f"{render_text(record)}\nReport: {run / 'report.html'}\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_goes_to_a_watched_stderr_alone(audit, tmp_path, monkeypatch, quiet):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, out, err = audit(tmp_path / "run", "--json", *(["--quiet"] if quiet else []))
    AuditRecord.from_json(out)
    assert ("search 6 labels" in err) is not quiet
    assert bool(err) is not quiet


def test_the_recorded_command_gives_the_same_record_again(mantrap, audit, tmp_path):
    words = ["--label", "4", "--label", "0", "--limit", "110", "--seed", "7", "--mean", "0.1", "--std", "0.5"]
    _, out, _ = audit(tmp_path / "first", *words, "--pixel-range", "0..2", "--json")
    first = json.loads(out)
    del first["volatile"]
    command = shlex.split(first["reproduction"]["command"])
    assert command[:3] == ["mantrap", "audit", "planted.safetensors"]
    assert first["model"]["pixel_range"] == [0, 2]
    _, out, _ = mantrap(*command[1:], "--out", tmp_path / "second", "--json")
    second = json.loads(out)
    del second["volatile"]
    assert first == second


def test_the_seed_chooses_the_images_under_a_limit(audit, tmp_path):
    digests = set()
    for seed in (0, 1):
        _, out, _ = audit(tmp_path / f"{seed}", "--limit", "60", "--seed", seed, "--json")
        digests.add(json.loads(out)["data"]["digest"])
    assert len(digests) == 2


def test_two_detectors(audit, tmp_path):
    _, out, _ = audit(tmp_path / "run", "--json", "--detector", "neural_cleanse(steps=3, images_per_step=32)")
    assert [d["detector"] for d in json.loads(out)["detections"]] == [
        "neural_cleanse(steps=2, images_per_step=32)",
        "neural_cleanse(steps=3, images_per_step=32)",
    ]


def test_without_a_detector_the_usual_six_look(mantrap, tmp_path):
    given = ["--arch", stage.ARCH, "--images", "tiles120.npz", "--out", tmp_path / "run"]
    code, out, err = mantrap("audit", "planted.safetensors", *given, "--json")
    record = AuditRecord.from_json(out)
    usual = ("neural_cleanse", "universal_perturbation", "universal_warp", "mm_bd", "last_layer", AllToAll.name)
    assert (code, err) == (1, "")
    assert record.reproduction.detectors == usual
    assert tuple(d.detector for d in record.detections) == usual
    assert record.comparison.standings[0].label == stage.TARGET
    assert "--detector neural_cleanse --detector universal_perturbation" in record.reproduction.command


def test_a_detector_that_is_given_looks_alone(audit, tmp_path):
    _, out, _ = audit(tmp_path / "run", "--json", detector="mm_bd(steps=2)")
    assert json.loads(out)["reproduction"]["detectors"] == ["mm_bd(steps=2)"]


def test_fresh_starts_over_where_another_run_lies(audit, tmp_path):
    run = tmp_path / "run"
    assert audit(run)[0] == 3
    code, out, err = audit(run, "--seed", "1")
    assert (code, out) == (2, "")
    assert "the run of another seed" in err
    code, out, _ = audit(run, "--seed", "1", "--fresh", "--json")
    assert code == 3
    assert json.loads(out)["reproduction"]["seed"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resize", "16"], "--resize HxW"),
        (["--pixel-range", "0-255"], "--pixel-range LOW..HIGH"),
        (["--threads", "0"], "--threads of at least 1"),
        (["--limit", "0"], "--limit of at least 1"),
        (["--split", "train"], "which is not divided"),
        (["--label", "6"], "labels from 0 to 5"),
        (["--std", "0"], "a positive std"),
        (["--mean", "0.1", "--mean", "0.2"], "mean with 1 or 1 values"),
        (["--detector", "neural_clean"], "Did you mean neural_cleanse?"),
        (["--detector", "neural_cleanse(steps=0)"], "steps of at least 1"),
        (["--device", "abacus"], "abacus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_values_are_usage_and_leave_no_folder(audit, tmp_path, words, message):
    code, out, err = audit(tmp_path / "run", *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--mean", "0.1,0.2"], ["--mean", "0.1", "--mean", "0.2"]])
def test_a_mean_for_each_channel(words):
    options = Declared(mean=tuple(word for word in words if word != "--mean"))
    assert options.preprocessing().mean == (0.1, 0.2)


def test_a_mean_that_is_no_number(audit, tmp_path):
    code, _, err = audit(tmp_path / "run", "--mean", "0.1;0.2")
    assert code == 2
    assert "--mean with numbers and commas between them" in err


def test_nothing_declared_is_nothing():
    assert Declared().preprocessing() == Preprocessing()


def test_without_images_what_needs_none_has_its_say_and_nothing_is_cleared(mantrap, tmp_path):
    form = ["--arch", stage.ARCH, "--images", "none"]
    sizes = ["--resize", f"{stage.SIDE}x{stage.SIDE}", "--channels", 1]
    code, out, err = mantrap("audit", "clean.safetensors", *form, *sizes, "--out", tmp_path / "run", "--json")
    record = AuditRecord.from_json(out)

    assert (code, err) == (3, "")
    assert [found.detector.partition("(")[0] for found in record.detections] == ["mm_bd", "last_layer"]
    assert "--images none" in record.reproduction.command
    again = shlex.split(record.reproduction.command)[1:]
    assert mantrap(*again, "--out", tmp_path / "again", "--json")[0] == 3

    code, _, err = mantrap("audit", "clean.safetensors", *form, "--out", tmp_path / "third")
    assert (code, "--resize HxW and --channels 1 or 3" in err) == (2, True)
    assert not (tmp_path / "third").exists()
