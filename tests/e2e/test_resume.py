"""An audit that is killed goes on where it was, and nobody can tell from its record."""

import json
import time

import pytest

from tests import stage, strangers

ARCH = f"{strangers.__file__}:Waiting"
VERDICTS = (0, 1, 3)
"""Exit codes of an audit that came to a verdict, whichever it is."""
UNITS = [f"unit-{number}" for number in range(stage.CLASSES // 2)]


@pytest.fixture
def words(tmp_path):
    """An audit of the planted model, but for the folder that it writes to."""
    stage.write_model(tmp_path, planted=True)
    stage.write_images(tmp_path)
    given = ["--arch", ARCH, "--images", "tiles120.npz", "--detector", stage.QUICK, "--threads", "1"]
    return ["audit", "planted.safetensors", *given]


def units(run):
    """Files of finished labels, two in each, by name."""
    return {path.name.partition("-cpu")[0]: path for path in run.glob("work/*/unit-*.safetensors")}


def marks(run):
    """What changes when a file is written again."""
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in units(run).items()}


def seconds(run):
    """CPU and wall seconds by stage, as far as the run has written them down."""
    path = run / "work" / "seconds.json"
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture
def killed(start, words, tmp_path):
    """The folder of an audit that was killed while it searched its second pair of labels.

    The model of this process waits as soon as the first pair is saved, so the moment does not depend on the machine.
    """
    run = tmp_path / "run"
    with start(*words, "--out", "run", WAIT_FOR=f"{run}/work/*/unit-*.safetensors") as process:
        while process.poll() is None and not ("neural_cleanse" in seconds(run) and units(run)):
            time.sleep(0.02)
        process.kill()
        _, err = process.communicate()
    assert process.returncode == -9, err
    assert sorted(units(run)) == UNITS[:1]
    return run


def stable(text):
    """A record without what may differ."""
    record = json.loads(text)
    del record["volatile"]
    return record


def test_killed_it_goes_on_and_nobody_can_tell(mantrap_process, words, killed, tmp_path):
    before, spent = marks(killed), seconds(killed)
    assert not (killed / "audit.json").exists()

    code, out, err = mantrap_process(*words, "--out", "run", "--json")
    assert code in VERDICTS
    assert err == ""
    assert sorted(marks(killed)) == UNITS
    assert before.items() <= marks(killed).items()

    undisturbed = mantrap_process(*words, "--out", "undisturbed", "--json")
    assert undisturbed[0] == code
    assert stable(out) == stable(undisturbed[1])
    assert (killed / "audit.json").read_text() == out
    # The seconds of the run that was killed count as well.
    (search,) = [s for s in json.loads(out)["volatile"]["stages"] if s["stage"] == "neural_cleanse"]
    assert search["wall_seconds"] > spent["neural_cleanse"][1]
    assert (killed / "report.html").read_bytes()


def test_fresh_starts_over(mantrap_process, words, killed):
    before = marks(killed)
    code, _, _ = mantrap_process(*words, "--out", "run", "--fresh")
    after = marks(killed)
    assert code in VERDICTS
    assert sorted(after) == UNITS
    assert not before.items() & after.items()


def test_another_audit_is_refused_there_and_changes_nothing(mantrap_process, words, killed):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in killed.rglob("*") if path.is_file()}
    code, out, err = mantrap_process(*words, "--seed", "1", "--out", "run")
    assert (code, out) == (2, "")
    assert "the run of another seed." in err
    assert err.count("\n") == 1
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in killed.rglob("*") if path.is_file()}
    assert after == before
