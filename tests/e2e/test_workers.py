"""An audit by two processes says what one says, also when it was killed, and then its helper does not go on alone."""

import json
import os
import time
from pathlib import Path

import pytest

from tests import helped, stage

WORDS = ("--detector", "neural_cleanse(steps=40, images_per_step=16, labels_at_once=2)", "--no-copy", "--no-control")
PIECES = 3


@pytest.fixture
def words(tmp_path):
    """An audit of the planted model, but for the folder that it writes to."""
    stage.write_model(tmp_path, planted=True)
    stage.write_images(tmp_path)
    return ["audit", "planted.safetensors", "--arch", helped.ARCH, "--images", "tiles120.npz", *WORDS]


@pytest.fixture
def helpers(tmp_path):
    """The folder where every helper puts a file named by its number."""
    folder = tmp_path / "helpers"
    folder.mkdir()
    return folder


def stable(text):
    """A record without what may differ."""
    return {k: v for k, v in json.loads(text).items() if k != "volatile"}


def pieces(run):
    """Finished pieces of the search."""
    return sorted(path.name for path in run.glob("work/*/unit-*.safetensors"))


def runs(number):
    """Whether there is still such a process; one that has ended may wait for somebody to take note."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_killed_its_helper_ends_and_two_others_finish_what_one_would_have_said(
    start, mantrap_process, words, helpers, tmp_path
):
    run = tmp_path / "run"
    waits = {"HELPERS": str(helpers), "FIRST_WAITS_FOR": f"{tmp_path}/never", "HELPERS_WAIT_FOR": f"{tmp_path}/killed"}
    with start(*words, "--workers", "2", "--out", "run", **waits) as process:
        while process.poll() is None and not list(helpers.iterdir()):
            time.sleep(0.02)
        process.kill()
        _, err = process.communicate()
    assert process.returncode == -9, err
    (helper,) = [int(path.name) for path in helpers.iterdir()]
    assert runs(helper)
    (tmp_path / "killed").touch()
    until = time.monotonic() + 60
    while runs(helper) and time.monotonic() < until:
        time.sleep(0.02)
    assert not runs(helper)
    assert pieces(run) == []

    code, out, err = mantrap_process(
        *words, "--workers", "2", "--out", "run", "--json", FIRST_WAITS_FOR=f"{run}/work/*/unit-*.safetensors"
    )
    alone = mantrap_process(*words, "--threads", "1", "--out", "alone", "--json")

    assert (code, err) == (alone[0], "")
    assert stable(out) == stable(alone[1])
    assert any(entry["norm"] is not None for entry in stable(out)["labels"])
    assert len(pieces(run)) == PIECES
    volatile, other = (json.loads(text)["volatile"] for text in (out, alone[1]))
    assert (volatile["workers"], volatile["threads"]) == (2, 1)
    assert (other["workers"], other["threads"]) == (1, 1)


def test_no_process_is_refused(mantrap_process, words, tmp_path):
    code, out, err = mantrap_process(*words, "--workers", "0", "--out", "run")

    assert (code, out) == (2, "")
    assert "at least one worker, got 0" in err
    assert not os.path.lexists(tmp_path / "run")
