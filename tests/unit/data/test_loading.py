from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mantrap.core import Rng
from mantrap.data import decode, load, pixels
from mantrap.errors import DataError, MissingDataError, SpecError, UsageError


@pytest.fixture
def thirty(tmp_path: Path, paint) -> str:
    for number in range(30):
        paint(tmp_path / "set" / f"{number % 3}" / f"{number}.png")
    return str(tmp_path / "set")


def test_a_limit_samples_each_label_in_proportion(thirty: str):
    found = load(thirty, limit=12)
    assert Counter(found.labels.tolist()) == {0: 4, 1: 4, 2: 4}
    assert found.digest() == load(thirty, limit=12).digest()
    assert found.digest() != load(thirty, limit=12, rng=Rng(1)).digest()
    assert len(load(thirty, limit=99)) == 30


def test_only_the_sample_is_opened(thirty: str, monkeypatch):
    opened = []
    original = decode._opened
    monkeypatch.setattr(decode, "_opened", lambda data, where: opened.append(where) or original(data, where))
    load(thirty, limit=3)
    assert len(set(opened)) == 3


def test_a_large_folder_is_decoded_as_it_is_read(thirty: str, monkeypatch):
    monkeypatch.setattr(pixels, "IN_MEMORY", 10)
    images = load(thirty)
    decoded = []
    original = decode._eight_bits
    monkeypatch.setattr(decode, "_eight_bits", lambda image: decoded.append(1) or original(image))
    images.images([4, 5])
    assert len(decoded) == 2
    monkeypatch.undo()
    assert images.digest() == load(thirty).digest()


def test_a_file_that_changes_during_the_work_is_noticed(tmp_path: Path, paint, monkeypatch):
    monkeypatch.setattr(pixels, "IN_MEMORY", 0)
    path = paint(tmp_path / "a.png")
    images = load(str(tmp_path))
    paint(path, (9, 9))
    with pytest.raises(DataError, match=r"6x5 pixels in .*a.png, got 9x9"):
        images.images()


def test_resize_and_channels_for_every_kind_of_source(thirty: str, tmp_path: Path):
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 9, 9), np.uint8))
    for source in (thirty, str(tmp_path / "set.npz"), "signs(test=2, size=16)"):
        assert load(source, resize=(7, 4), channels=1).shape == (1, 7, 4)
        assert load(source, resize=(7, 4), channels=3).shape == (3, 7, 4)


def test_wrong_requests_are_refused_first():
    with pytest.raises(UsageError, match="--channels"):
        load("nowhere", channels=2)
    with pytest.raises(UsageError, match="--limit"):
        load("signs", limit=0)


def test_a_path_wins_over_a_name_of_ours_only_where_it_is_written_like_one(tmp_path: Path, monkeypatch, paint):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "signs" / "a.png")
    paint(tmp_path / "faces" / "a.png")
    assert load("signs", limit=1).shape == (3, 32, 32)
    assert load("./signs").shape == load("signs/").shape == (3, 6, 5)
    assert load("faces").shape == (3, 6, 5)


@pytest.mark.parametrize("source", ["gone/x.npz", "gone.npz", "./mnist", "two words", "", "x.py:mnist", "~nobody/x"])
def test_a_path_that_is_not_there(source):
    with pytest.raises(MissingDataError, match="which is not there"):
        load(source)


def test_an_unknown_name_and_option():
    with pytest.raises(SpecError, match=r"a data set out of mnist, .*got 'minst'.*Did you mean mnist"):
        load("minst")
    with pytest.raises(SpecError, match="Did you mean classes"):
        load("signs(clases=3)")


def test_a_file_of_another_kind(tmp_path: Path):
    (tmp_path / "set.tar").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a folder, or an .npz, .* got 'set.tar'"):
        load(str(tmp_path / "set.tar"))


def test_what_the_system_refuses_is_said(thirty: str, monkeypatch):
    def refuse(_self: Path):
        raise PermissionError(13, "Permission denied", thirty)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        load(thirty)
