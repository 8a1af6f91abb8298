"""Pieces of work that several processes make together: nobody makes one that another is at, and the dead hold none."""

import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch

from mantrap.core import FORGETFUL, SharedMemo
from mantrap.workflow.ledger import SharedTimedMemo, TimedMemo
from mantrap.workflow.rundir import ClaimingMemo, FolderMemo, RunFolder
from mantrap.workflow.stopwatch import Stopwatch

HOLDER = """
import sys
from pathlib import Path
from mantrap.workflow.rundir import ClaimingMemo
with ClaimingMemo(Path(sys.argv[1]), helping=True).claim(sys.argv[2]) as ours:
    print(ours, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def memo(tmp_path):
    """A folder that several processes fill, as the first of them sees it."""
    return ClaimingMemo(tmp_path / "work" / "d", helping=False)


@contextmanager
def another(memo, key):
    """Another process that claims a piece, whether it got it, and a hand on it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(memo.folder), key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def claimed(memo, key):
    """Whether a piece can be had now."""
    with memo.claim(key) as ours:
        return ours


@pytest.mark.parametrize("end", ["kill", "leave"])
def test_a_claim_excludes_another_process_until_it_ends_however_it_does(memo, end):
    with another(memo, "unit-0") as (process, got):
        assert got == "True"
        assert not claimed(memo, "unit-0")
        assert claimed(memo, "unit-1")
        if end == "kill":
            process.kill()
        else:
            process.stdin.close()
        process.wait()

        assert claimed(memo, "unit-0")


def test_what_we_claim_no_other_process_gets(memo):
    with memo.claim("unit-0") as ours:
        assert ours
        with another(memo, "unit-0") as (_, got):
            assert got == "False"
        with another(memo, "unit-1") as (_, got):
            assert got == "True"
    with another(memo, "unit-0") as (_, got):
        assert got == "True"


def test_an_error_gives_the_claim_back(memo):
    def fails():
        with memo.claim("unit-0") as ours:
            assert ours
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    with another(memo, "unit-0") as (_, got):
        assert got == "True"


def test_two_in_one_process_exclude_each_other_as_well(memo, tmp_path):
    with memo.claim("unit-0") as ours, ClaimingMemo(tmp_path / "work" / "d", helping=True).claim("unit-0") as theirs:
        assert (ours, theirs) == (True, False)


def test_a_claim_is_no_piece_and_takes_none_away(memo):
    memo.save("unit-0", {"labels": torch.tensor([3])})
    with memo.claim("unit-0"), memo.claim("unit-1"):
        assert memo.load("unit-0")["labels"].tolist() == [3]
        assert memo.load("unit-1") is None
    assert sorted(p.name for p in memo.folder.glob("*.safetensors")) == ["unit-0.safetensors"]


def test_of_one_name_all_share_one_place_with_those_who_work_alone(tmp_path):
    folder = RunFolder(tmp_path, {})
    first, helper = (folder.shared_memo("search", helping=helping) for helping in (False, True))
    helper.save("unit-0", {"labels": torch.tensor([3])})

    assert (first.helping, helper.helping) == (False, True)
    assert first.load("unit-0")["labels"].tolist() == [3]
    assert folder.memo("search").load("unit-0")["labels"].tolist() == [3]
    assert folder.shared_memo("other", helping=False).load("unit-0") is None


def test_only_a_memo_that_can_be_claimed_is_shared(memo, tmp_path):
    watch = Stopwatch()

    assert isinstance(memo, SharedMemo)
    assert isinstance(SharedTimedMemo(memo, watch), SharedMemo)
    for alone in (FORGETFUL, FolderMemo(tmp_path), TimedMemo(memo, watch)):
        assert not isinstance(alone, SharedMemo)


@pytest.mark.parametrize("helping", [False, True])
def test_one_that_writes_the_seconds_down_claims_saves_and_loads_what_it_holds(tmp_path, helping):
    kept = ClaimingMemo(tmp_path / "d", helping=helping)
    watch = Stopwatch(tmp_path / "seconds.json")
    timed = SharedTimedMemo(kept, watch)
    with timed.claim("unit-0") as ours:
        assert ours
        assert not claimed(kept, "unit-0")
        timed.save("unit-0", {"labels": torch.tensor([3])})

    assert timed.helping is helping
    assert kept.load("unit-0")["labels"].tolist() == timed.load("unit-0")["labels"].tolist() == [3]
    assert (tmp_path / "seconds.json").exists()
