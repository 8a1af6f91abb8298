"""Run the command line as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mantrap

COMMAND = (sys.executable, "-m", "mantrap")


@pytest.fixture
def environment(root):
    """Where a process of its own finds this very package, and the tests' folder."""
    paths = [str(Path(mantrap.__file__).parents[1]), str(root), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


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
