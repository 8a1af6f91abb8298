"""A grid that is killed goes on where it was, and nobody can tell from its record."""

import json
import time

import pytest

from tests import gridding

TOML = """
data = ["tiles.npz"]
models = ["mlp(hidden=(8,))"]
attacks = ["badnets(target=1, rate=0.2)"]
repairs = ["fine_tuning(updates=2)"]
screens = ["scan", "confident_learning"]
[training]
images = 120
recipe = "recipe(epochs=60, batch_size=16)"
[defender]
images = 80
[test]
images = 60
"""
CELLS = 5


@pytest.fixture
def words(tmp_path):
    """A grid, but for the folder that it writes to."""
    gridding.write_images(tmp_path)
    (tmp_path / "grid.toml").write_text(TOML)
    return ["benchmark", "grid.toml", "--json"]


def pieces(run):
    """What changes when a finished piece is made again, by its file."""
    found = run.glob("work/pieces/*.json")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def stable(text):
    record = json.loads(text)
    return {name: value for name, value in record.items() if name not in ("volatile", "command")}


def test_killed_it_goes_on_and_nobody_can_tell(start, mantrap_process, words, tmp_path):
    run = tmp_path / "run"
    with start(*words, "--out", "run") as process:
        while process.poll() is None and not pieces(run):
            time.sleep(0.01)
        process.kill()
        _, err = process.communicate()
    assert process.returncode == -9, err
    before = pieces(run)
    assert not (run / "grid.json").exists()

    code, out, err = mantrap_process(*words, "--out", "run")
    undisturbed = mantrap_process(*words, "--out", "undisturbed")

    assert (code, err) == (0, "") == (undisturbed[0], undisturbed[2])
    assert before
    assert before.items() <= pieces(run).items()
    assert stable(out) == stable(undisturbed[1])
    assert [cell["state"] for cell in json.loads(out)["cells"]] == ["done"] * CELLS
