"""A run's folder belongs to one run and one process, and a killed run goes on in it."""

import json
import subprocess
import sys

import pytest
import torch

from mantrap.errors import DataError, OutputError
from mantrap.records.files import write_atomically
from mantrap.workflow.rundir import FolderMemo, RunFolder

IDENTITY = {"kind": "audit", "model": "aa", "seed": 0, "labels": None}
HOLDER = """
import sys
from pathlib import Path
from mantrap.workflow.rundir import RunFolder
with RunFolder(Path(sys.argv[1]), {"kind": "audit", "seed": 7}).claimed():
    print("held", flush=True)
    sys.stdin.read()
"""


def claim(path, identity=None, **options):
    """Claim a folder for a run and let it go again."""
    with RunFolder(path, identity or IDENTITY).claimed(**options):
        pass


def fail(path, work=None, error=None):
    """Claim a folder, do some work in it, and fail."""
    with RunFolder(path, IDENTITY).claimed() as folder:
        if work is not None:
            work(folder)
        raise error or DataError(expected="a", got="b", remedy="C.")


def names(path):
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*"))


def test_the_same_run_goes_on_in_its_folder(tmp_path):
    with RunFolder(tmp_path / "a" / "run", IDENTITY).claimed() as folder:
        folder.memo("d").save("label-0", {"mask": torch.ones(2)})
    with RunFolder(tmp_path / "a" / "run", IDENTITY).claimed() as folder:
        assert folder.memo("d").load("label-0")["mask"].tolist() == [1, 1]
        assert folder.memo("another").load("label-0") is None
        assert folder.write("audit.json", "{}").read_text() == "{}"


def test_a_folder_of_another_run_is_refused_and_the_difference_is_named(tmp_path):
    run = tmp_path / "run"
    claim(run)
    before = {p: p.read_bytes() for p in run.iterdir()}
    other = IDENTITY | {"model": "bb", "labels": [1]}
    with pytest.raises(OutputError, match=r"the run of another labels, model\. .*--fresh"):
        claim(run, other)
    assert {p: p.read_bytes() for p in run.iterdir()} == before


@pytest.mark.parametrize("identity", ["not json", "[1]", '{"kind": "training"}', '{"name": "somebody\'s project"}'])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_somebody_else_is_refused_and_nothing_in_it_changes(tmp_path, fresh, identity):
    (tmp_path / "work").mkdir()
    for name, content in {"run.json": identity, "work/thesis.tex": "years", "audit.json": "mine"}.items():
        (tmp_path / name).write_text(content)
    before = names(tmp_path)
    with pytest.raises(OutputError, match=r"a folder that holds audit\.json, run\.json, work\. Choose another --out"):
        claim(tmp_path, fresh=fresh, outputs=("audit.json",))
    assert names(tmp_path) == before
    assert (tmp_path / "audit.json").read_text() == "mine"


def test_an_empty_folder_will_do_and_so_will_one_where_a_kill_left_a_draft(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.0123456789abcdef.part").write_text('{"ki')
    claim(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == IDENTITY


def test_fresh_takes_away_the_work_and_the_outputs_and_nothing_else(tmp_path):
    with RunFolder(tmp_path, IDENTITY).claimed() as folder:
        folder.memo("d").save("label-0", {"mask": torch.ones(2)})
        folder.write("audit.json", "old")
    (tmp_path / "notes.txt").write_text("keep me")
    other = IDENTITY | {"seed": 1}
    with RunFolder(tmp_path, other).claimed(fresh=True, outputs=("audit.json", "report.html")) as folder:
        assert folder.memo("d").load("label-0") is None
    assert names(tmp_path) == [".lock", "notes.txt", "run.json"]
    assert json.loads((tmp_path / "run.json").read_text()) == other


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match=r"a folder that can be written at .*Choose another --out"):
        claim(tmp_path / place)
    assert (tmp_path / "file").read_text() == "here"


def test_a_second_process_is_refused_while_the_first_works_and_no_longer(tmp_path):
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another process that works in it"):
            claim(run, {"kind": "audit", "seed": 7})
        assert names(run) == [".lock", "run.json"]
        holder.kill()
        holder.wait()
        claim(run, {"kind": "audit", "seed": 7})


def test_a_run_that_is_refused_before_any_work_leaves_no_trace(tmp_path):
    with pytest.raises(DataError):
        fail(tmp_path / "a" / "run", lambda folder: write_atomically(folder.work("seconds.json"), b"{}"))
    assert names(tmp_path) == []


def test_finished_work_is_kept_whatever_ends_the_run(tmp_path):
    with pytest.raises(DataError):
        fail(tmp_path / "run", lambda folder: folder.memo("d").save("label-0", {"mask": torch.ones(2)}))
    with RunFolder(tmp_path / "run", IDENTITY).claimed() as folder:
        assert folder.memo("d").load("label-0") is not None


def test_an_interrupted_run_keeps_its_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "run", error=KeyboardInterrupt())
    assert names(tmp_path / "run") == [".lock", "run.json"]


def test_a_refused_run_takes_nothing_from_a_folder_that_was_there(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError):
        fail(tmp_path / "run")
    assert names(tmp_path) == ["run"]


def test_what_a_memo_loads_is_bitwise_what_it_saved(tmp_path):
    memo = FolderMemo(tmp_path)
    saved = {"mask": torch.rand(3, 4, generator=torch.Generator().manual_seed(0)).T, "facts": torch.tensor([1, -2])}
    memo.save("label-3", saved)
    loaded = memo.load("label-3")
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[k], saved[k]) and loaded[k].dtype == saved[k].dtype for k in saved)
    assert memo.load("label-4") is None


@pytest.mark.parametrize("content", [b"", b"half of it", b"\xff" * 64])
def test_a_damaged_piece_of_work_is_made_anew(tmp_path, content):
    memo = FolderMemo(tmp_path)
    (tmp_path / "label-3.safetensors").write_bytes(content)
    assert memo.load("label-3") is None
    memo.save("label-3", {"mask": torch.ones(1)})
    assert memo.load("label-3")["mask"].tolist() == [1]
