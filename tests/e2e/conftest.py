"""Run the command line as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mantrap
from mantrap.cli import main

COMMAND = (sys.executable, "-m", "mantrap")


@pytest.fixture
def environment(root):
    """Where a process of its own finds this very package, and the tests' folder."""
    paths = [str(Path(mantrap.__file__).parents[1]), str(root), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def fails_cleanly(tmp_path, capsys):
    """Run ``mantrap``: it must fail with a code, say things in one sentence, and leave every file as it was."""

    def run(words, code, *said):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        got = main(list(map(str, words)))
        captured = capsys.readouterr()
        assert (got, captured.out) == (code, ""), captured.err
        assert captured.err.startswith("mantrap: expected ")
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        assert [word for word in said if word not in captured.err] == [], captured.err
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    return run


@pytest.fixture
def start(environment, tmp_path):
    """Start ``mantrap`` in ``tmp_path``."""

    def run(*words, **variables):
        return subprocess.Popen(
            [*COMMAND, *map(str, words)],
            cwd=tmp_path,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture
def mantrap_process(start):
    """Run ``mantrap`` to its end: exit code, stdout, stderr."""

    def run(*words, **variables):
        with start(*words, **variables) as process:
            out, err = process.communicate()
        return process.returncode, out, err

    return run
