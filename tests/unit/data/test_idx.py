import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from mantrap.data import load
from mantrap.errors import DataError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 6), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, stem: str, *, gz: bool, labels: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    end = ".gz" if gz else ""
    pack = gzip.compress if gz else bytes
    if labels:
        (folder / f"{stem}-labels-idx1-ubyte{end}").write_bytes(pack(idx(LABELS)))
    path = folder / f"{stem}-images-idx3-ubyte{end}"
    path.write_bytes(pack(idx(PIXELS)))
    return path


@pytest.mark.parametrize("gz", [False, True])
def test_a_pair_of_files(tmp_path: Path, gz):
    images = load(str(write(tmp_path, "my", gz=gz)))
    assert (images.source.read(range(5))[:, 0].numpy() == PIXELS).all()
    assert images.labels.tolist() == LABELS.tolist()


def test_the_spelling_with_dots(tmp_path: Path):
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx(PIXELS))
    (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(idx(LABELS))
    for source in (tmp_path, tmp_path / "t10k-images.idx3-ubyte"):
        assert load(str(source)).labels.tolist() == LABELS.tolist()


def test_images_without_labels(tmp_path: Path):
    assert load(str(write(tmp_path, "my", gz=False, labels=False))).labels is None


def test_a_folder_of_both_splits(tmp_path: Path):
    write(tmp_path, "t10k", gz=True)
    write(tmp_path, "train", gz=False, labels=False)
    assert load(str(tmp_path)).labelled
    assert not load(str(tmp_path), split="train").labelled
    with pytest.raises(UsageError, match="a split out of train, test"):
        load(str(tmp_path), split="val")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(PIXELS)[:-1], "209 bytes for shape"),
        (idx(PIXELS) + b"x", "more bytes for shape"),
        (idx(LABELS), "the magic number 00000801"),
        (b"\0\0\x08", "a whole idx file"),
        (idx(PIXELS[:0]), r"shape \(0, 7, 6\)"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**16, 2**16), "claim to hold 9223372036854775808"),
    ],
)
def test_a_broken_file(tmp_path: Path, content, message):
    path = tmp_path / "my-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(str(path))


def test_a_broken_archive(tmp_path: Path):
    path = write(tmp_path, "my", gz=True)
    whole = path.read_bytes()
    for content in (whole[:-30], whole[:30] + bytes(20) + whole[50:], b"no gzip"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="a whole idx file"):
            load(str(path))


def test_labels_that_do_not_fit(tmp_path: Path):
    path = write(tmp_path, "my", gz=False)
    (tmp_path / "my-labels-idx1-ubyte").write_bytes(idx(LABELS[:3]))
    with pytest.raises(DataError, match="5 labels for the 5 images"):
        load(str(path))
