"""Files are whole or not there."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mantrap.errors import OutputError
from mantrap.records.files import sha256_of, write_atomically


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
