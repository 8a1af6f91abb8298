import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mantrap.data import load
from mantrap.errors import DataError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), np.uint8)
LABELS = np.array([2, 0, 1, 2])


def saved(path: Path, **arrays: np.ndarray) -> str:
    np.savez_compressed(path / "set.npz", **arrays)
    return str(path / "set.npz")


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels"), ("x_test", "y_test")])
def test_the_names_that_are_known(tmp_path: Path, x, y):
    images = load(saved(tmp_path, **{x: PIXELS, y: LABELS, "class_names": np.array(["a", "b", "c"])}))
    assert torch.equal(images.source.read(range(4)), torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert images.labels.tolist() == LABELS.tolist()
    assert images.class_names == ("a", "b", "c")


def test_the_split_chooses_the_arrays(tmp_path: Path):
    path = saved(tmp_path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:1])
    assert load(path, split="train").labels.tolist() == LABELS.tolist()
    assert (len(load(path)), load(path).labels) == (1, None)
    with pytest.raises(UsageError, match="a split out of test, train"):
        load(path, split="val")


def test_an_undivided_file_has_no_training_part(tmp_path: Path):
    with pytest.raises(UsageError, match="not divided, got 'train'"):
        load(saved(tmp_path, x=PIXELS), split="train")


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, ">f4"])
def test_floats_and_channels_first(tmp_path: Path, kind):
    first = (PIXELS.transpose(0, 3, 1, 2) / 255).astype(kind)
    images = load(saved(tmp_path, x=first, y=LABELS[:, None]))
    assert images.shape == (3, 8, 6)
    assert torch.allclose(images.images(), torch.from_numpy(first.astype(np.float32)))


def test_grey_with_and_without_a_channel_axis(tmp_path: Path):
    for array in (PIXELS[..., 0], PIXELS[..., :1], PIXELS[..., 0][:, None]):
        assert load(saved(tmp_path, x=array)).shape == (1, 8, 6)


def test_without_images_the_file_lists_what_it_holds(tmp_path: Path):
    with pytest.raises(DataError, match=r"'x', 'images'.*got the arrays 'data', 'target'"):
        load(saved(tmp_path, data=PIXELS, target=LABELS))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": PIXELS.astype(np.int64)}, "uint8 or floats of shape .* got int64"),
        ({"x": PIXELS[0, 0]}, r"got uint8 of shape \(6, 3\)"),
        ({"x": PIXELS[..., :2]}, r"got uint8 of shape \(4, 8, 6, 2\)"),
        ({"x": np.array(["a", "b"])}, "got <U1"),
        ({"x": PIXELS.astype(np.float32)}, r"pixels in \[0, 1\]"),
        ({"x": np.full((1, 2, 2), np.nan)}, r"pixels in \[0, 1\]"),
        ({"x": PIXELS, "y": LABELS[:2]}, "4 labels for the 4 images"),
        ({"x": PIXELS, "y": np.eye(4)}, r"one integer for each image in y of .* got float64 of shape \(4, 4\)"),
        ({"x": PIXELS, "y": -LABELS}, "labels from 0 up"),
        ({"x": PIXELS[:0]}, "at least one image"),
        ({"x": np.array([None, 1], object)}, "plain arrays"),
    ],
)
def test_arrays_that_are_no_images(tmp_path: Path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(saved(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html><body>404", "an HTML page"),
        (b"<html>", "an HTML page"),
        (b"just text", "a whole .npz file"),
    ],
)
def test_what_stands_in_for_the_file_is_called_by_its_name(tmp_path: Path, content, message):
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / "set.npz"))


def test_half_a_file_and_a_damaged_one(tmp_path: Path):
    path = Path(saved(tmp_path, x=PIXELS))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a whole \.npz file"):
        load(str(path))
    path.write_bytes(whole[:200] + bytes(40) + whole[240:])
    with pytest.raises(DataError, match=r"a whole \.npz file"):
        load(str(path))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|u1", "fortran_order": False, "shape": (300, 1024, 1024)}
        )
        for _ in range(300):
            member.write(bytes(2**20))
    with pytest.raises(DataError, match="bytes that claim to hold 3"):
        load(str(path))


def test_a_header_that_claims_more_than_there_is(tmp_path: Path):
    path = tmp_path / "liar.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 1000, 1000)}
        )
        member.write(bytes(10))
    with pytest.raises(DataError, match="over 10 bytes"):
        load(str(path))
