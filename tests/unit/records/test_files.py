"""Files are whole or not there."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mantrap.errors import DataError, MissingDataError, OutputError
from mantrap.records.files import drafted, left_by_kills, sha256_of, write_atomically


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_bytes_arrive_in_a_folder_that_was_not_there(tmp_path):
    path = tmp_path / "new" / "deep" / "file.bin"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert names_in(path.parent) == ["file.bin"]


def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    write_atomically(path, b"earlier")

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"file\.bin, got No space left on device"):
        write_atomically(path, b"later")
    assert path.read_bytes() == b"earlier"
    assert names_in(tmp_path) == ["file.bin"]


def test_the_name_is_given_only_after_the_bytes_are_on_the_disk(tmp_path, monkeypatch):
    path, steps = tmp_path / "file.bin", []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("sync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to)))
    write_atomically(path, b"x")
    assert steps == ["sync", "rename", "sync"]


def test_a_file_where_a_folder_should_be_is_an_unwritable_place(tmp_path):
    (tmp_path / "taken").write_text("here")
    with pytest.raises(OutputError, match="taken/file"):
        write_atomically(tmp_path / "taken" / "file", b"x")
    with pytest.raises(OutputError, match="Choose a place"):
        write_atomically(tmp_path, b"x")
    assert names_in(tmp_path) == ["taken"]


def test_a_digest_is_that_of_the_whole_file(tmp_path):
    (tmp_path / "f").write_bytes(bytes(3_000_000))
    assert sha256_of(tmp_path / "f") == hashlib.sha256(bytes(3_000_000)).hexdigest()


def fill(draft, error=None):
    """Make a small folder, and perhaps fail."""
    (draft / "below").mkdir(parents=True)
    (draft / "below" / "file").write_text("x")
    if error is not None:
        raise error


def test_a_folder_arrives_whole(tmp_path):
    with drafted(tmp_path / "deep" / "folder") as draft:
        fill(draft)
        assert not (tmp_path / "deep" / "folder").exists()
    assert (tmp_path / "deep" / "folder" / "below" / "file").read_text() == "x"
    assert names_in(tmp_path / "deep") == ["folder"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError),
        (DataError(expected="a", got="b", remedy="C."), DataError),
        (MissingDataError(expected="a", got="b", remedy="C."), MissingDataError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_whatever_ends_the_making_of_a_folder_nothing_is_left(tmp_path, error, kind):
    with pytest.raises(kind), drafted(tmp_path / "folder") as draft:
        fill(draft, error)
    assert names_in(tmp_path) == []


def test_a_folder_does_not_take_the_place_of_one_that_is_not_empty(tmp_path):
    fill(tmp_path / "folder")
    with pytest.raises(OutputError, match=r"to write .*folder"), drafted(tmp_path / "folder") as draft:
        (draft / "other").mkdir(parents=True)
    assert names_in(tmp_path) == ["folder"]
    assert names_in(tmp_path / "folder") == ["below"]


def test_what_a_kill_left_is_found_and_nothing_else(tmp_path):
    context = drafted(tmp_path / "a[b].npz")
    draft = context.__enter__()
    draft.touch()
    for name in ("a[b].npz", ".a[b].npz.part", ".ab.npz.0123456789abcdef.part", ".a[b].npz.swp"):
        (tmp_path / name).touch()
    assert left_by_kills(tmp_path / "a[b].npz") == [draft]
    context.__exit__(None, None, None)
