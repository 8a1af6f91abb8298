import gzip
import io
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import Rng
from mantrap.data import NAMED, load, places, split
from mantrap.errors import DataError, MissingDataError, UsageError

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 28, 28), np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 32, 32, 3), np.uint8)
LABELS = np.array([0, 1, 2, 3, 4, 5], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_files(folder: Path, *, gz: bool = True) -> None:
    folder.mkdir(parents=True)
    for stem in ("train", "t10k"):
        for kind, array in (("images-idx3", GREY), ("labels-idx1", LABELS)):
            name = f"{stem}-{kind}-ubyte"
            (folder / (name + ".gz" * gz)).write_bytes(gzip.compress(idx(array)) if gz else idx(array))


@pytest.mark.parametrize("name", [n for n in NAMED.names if n != "signs"])
def test_a_set_that_is_nowhere_says_where_to_get_it_and_where_to_put_it(bare: Path, tmp_path: Path, monkeypatch, name):
    with pytest.raises(MissingDataError) as caught:
        load(name)
    text = str(caught.value)
    assert name in text
    assert all(str(place) in text for place in (bare, tmp_path / "system", tmp_path / "cache" / "data"))
    assert "https://" in text
    assert f"into {bare}" in text
    monkeypatch.delenv("MANTRAP_DATA")
    with pytest.raises(MissingDataError, match=f"MANTRAP_DATA is not set.*into {tmp_path / 'cache' / 'data'}"):
        load(name)


@pytest.mark.parametrize("name", NAMED.names)
def test_an_unknown_split_lists_the_known_ones(name):
    with pytest.raises(UsageError, match=rf"a split out of {', '.join(NAMED.kind(name).splits)} of {name}, got 'dev'"):
        load(name, split="dev")


@pytest.mark.parametrize(
    ("name", "folder", "gz"),
    [
        ("mnist", "mnist", True),
        ("mnist", "MNIST/raw", False),
        ("fashion_mnist", "fashion-mnist", True),
        ("fashion_mnist", "FashionMNIST/raw", False),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_idx_files_under_their_owners_names(bare: Path, name, folder, gz, part):
    idx_files(bare / folder, gz=gz)
    images = load(name, split=part)
    assert (images.source.read(range(6))[:, 0].numpy() == GREY).all()
    assert (images.labels.tolist(), images.name, len(images.class_names)) == (LABELS.tolist(), name, 10)


@pytest.mark.parametrize("place", ["system", "cache/data"])
def test_the_system_and_the_cache_are_looked_through(bare: Path, tmp_path: Path, place):
    idx_files(tmp_path / place / "fashion-mnist")
    assert len(load("fashion_mnist")) == 6


def test_the_own_folder_comes_first(bare: Path, tmp_path: Path):
    idx_files(tmp_path / "system" / "mnist")
    np.savez(bare / "mnist.npz", x_test=GREY[:2], y_test=LABELS[:2])
    assert len(load("mnist")) == 2


def test_a_web_page_in_place_of_the_file(bare: Path):
    (bare / "mnist.npz").write_text("<!doctype html><html>")
    with pytest.raises(DataError, match=r"mnist.npz, got an HTML page"):
        load("mnist")


def test_another_file_under_the_name_lists_what_it_holds(bare: Path):
    np.savez(bare / "mnist.npz", images=GREY)
    with pytest.raises(DataError, match=r"an array 'y_test' in .*got the arrays 'images'"):
        load("mnist")


def test_cifar10_in_the_binary_version(bare: Path):
    folder = bare / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    record = np.concatenate([LABELS[:, None], COLOUR.transpose(0, 3, 1, 2).reshape(6, -1)], axis=1).tobytes()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(record)
    images = load("cifar10")
    assert (images.source.read(range(6)).permute(0, 2, 3, 1).numpy() == COLOUR).all()
    assert (images.labels.tolist(), images.class_names) == (LABELS.tolist(), ("airplane", "automobile"))
    assert len(load("cifar10", split="train")) == 30
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3.bin, got no such file"):
        load("cifar10", split="train")
    (folder / "test_batch.bin").write_bytes(record[:-1])
    with pytest.raises(DataError, match="records of 3073 bytes"):
        load("cifar10")


def test_cifar10_as_jpeg(bare: Path):
    flat = np.broadcast_to(np.array([30, 90, 200], np.uint8)[:, None, None, None], (3, 32, 32, 3))
    files = []
    for image in flat:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG")
        files.append(file.getvalue())
    np.savez(
        bare / "cifar10_jpeg.npz",
        test_jpeg=np.frombuffer(b"".join(files), np.uint8),
        test_offsets=np.cumsum([0, *map(len, files)]),
        y_test=np.array([7, 8, 9], np.uint8),
        class_names=np.array(["a", "b"]),
    )
    images = load("cifar10", limit=3)
    assert (images.labels.tolist(), images.shape) == ([7, 8, 9], (3, 32, 32))
    assert (images.source.read(range(3)).float().mean((1, 2, 3)) - torch.tensor([30, 90, 200])).abs().max() < 3


def sign(folder: Path, name: str, label: int, box: tuple[int, int, int, int]) -> str:
    """A ppm of noise whose box holds the flat colour ``10 * label``; its row for the table."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(200, 256, (40, 36, 3), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = 10 * label
    Image.fromarray(pixels).save(folder / name)
    return f"{name};36;40;{left};{top};{right};{bottom};{label}"


HEADING = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


@pytest.mark.parametrize("home", ["GTSRB/Final_Training/Images", "GTSRB/Training"])
def test_gtsrb_training_images_are_cropped_and_know_their_tracks(bare: Path, home):
    for label in (3, 14):
        folder = bare / home / f"{label:05d}"
        rows = [sign(folder, f"{t:05d}_{f:05d}.ppm", label, (5, 6, 30, 33)) for t in range(4) for f in range(3)]
        (folder / f"GT-{label:05d}.csv").write_text("\n".join([HEADING, *rows]))
    images = load("gtsrb", split="train")
    assert images.shape == (3, 32, 32)
    assert (images.source.read(range(24)) == (10 * images.labels)[:, None, None, None]).all()
    assert Counter(images.groups) == {f"{label:05d}/{t:05d}": 3 for label in (3, 14) for t in range(4)}


def test_gtsrb_training_data_is_split_by_track(bare: Path):
    tracks = np.repeat(np.arange(20), 30)
    np.savez(
        bare / "gtsrb_roi_small.npz",
        x_train=RANDOM.integers(0, 256, (600, 32, 32, 3), np.uint8),
        y_train=np.repeat(np.arange(2), 300),
        track_train=np.where(tracks >= 10, tracks - 10, tracks),
        class_names=np.array(["a", "b"]),
    )
    parts = split(load("gtsrb", split="train"), {"train": 0.8, "val": 0.2}, rng=Rng(0))
    assert Counter(parts["val"].labels.tolist()) == {0: 60, 1: 60}
    assert not set(parts["train"].groups) & set(parts["val"].groups)
    assert len(set(parts["train"].groups) | set(parts["val"].groups)) == 20


@pytest.mark.parametrize("table", ["GTSRB/Final_Test/Images", "GTSRB/Final_Test", "GTSRB"])
def test_gtsrb_test_images(bare: Path, table):
    folder = bare / "GTSRB" / "Final_Test" / "Images"
    rows = [sign(folder, f"{i:05d}.ppm", i, (1, 2, 20, 22)) for i in range(5)]
    (bare / table / "GT-final_test.csv").write_text("\n".join([HEADING, *rows]))
    images = load("gtsrb")
    assert images.labels.tolist() == [0, 1, 2, 3, 4]
    assert images.groups is None
    assert (images.source.read(range(5)) == (10 * images.labels)[:, None, None, None]).all()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("gone.ppm;1;1;0;0;1;1;3", "the image of row 3 of .* got 'gone.ppm'"),
        ("../GTSRB.ppm;1;1;0;0;1;1;3", "the image of row 3 of"),
        ("00000.ppm;1;1;0;0;1;1", "Filename, Roi.X1, .* and ClassId in row 3 of"),
        ("00000.ppm;1;1;0;0;99;1;3", "a box inside the 40x36 image"),
    ],
)
def test_gtsrb_tables_that_do_not_fit(bare: Path, row, message):
    folder = bare / "GTSRB" / "Final_Test" / "Images"
    first = sign(folder, "00000.ppm", 0, (1, 2, 20, 22))
    (folder / "GT-final_test.csv").write_text(f"{HEADING}\n{first}\n{row}")
    with pytest.raises(DataError, match=message):
        load("gtsrb")


def test_orl_in_its_owners_folders_splits_every_person(bare: Path):
    for person in range(1, 13):
        for image in range(1, 11):
            folder = bare / "orl" / f"s{person}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RANDOM.integers(0, 256, (112, 92), np.uint8)).save(folder / f"{image}.pgm")
    train, test = load("orl", split="train"), load("orl")
    assert test.shape == (1, 112, 92)
    assert Counter(train.labels.tolist()) == dict.fromkeys(range(12), 8)
    assert Counter(test.labels.tolist()) == dict.fromkeys(range(12), 2)
    assert not set(train.content_hashes) & set(test.content_hashes)


@pytest.mark.parametrize(
    ("name", "part", "count", "shape", "classes"),
    [
        ("mnist", "test", 10000, (1, 28, 28), 10),
        ("gtsrb", "train", 13070, (3, 32, 32), 43),
        ("cifar10", "lossless", 200, (3, 32, 32), 10),
        ("cifar10", "test", 10000, (3, 32, 32), 10),
        ("lfw", "test", 825, (1, 64, 64), 151),
        ("lfw", "scan", 1000, (1, 55, 47), None),
        ("orl", "train", 320, (1, 112, 92), 40),
    ],
)
def test_the_real_sets(shared: Path, monkeypatch, name, part, count, shape, classes):
    monkeypatch.setenv("MANTRAP_DATA", str(shared / "data"))
    images = NAMED.create(name).load(part)
    assert (len(images), images.shape, images.num_classes) == (count, shape, classes)
    assert images.images([0, count - 1]).shape == (2, *shape)


def test_fashion_mnist_of_this_system():
    if not (places.SYSTEM / "fashion-mnist").is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    images = load("fashion_mnist", limit=100)
    assert Counter(images.labels.tolist()) == dict.fromkeys(range(10), 10)
