"""The data sets that have a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from mantrap.core import ImageSet, Registry, Rng
from mantrap.data.choice import ChosenClasses
from mantrap.data.folder import read_folder
from mantrap.data.gtsrb import Gtsrb
from mantrap.data.idx import read_idx_folder
from mantrap.data.npz import Arrays, as_labels
from mantrap.data.pictures import Picture, Pictures
from mantrap.data.places import find
from mantrap.data.signs import Signs
from mantrap.data.splits import split as part
from mantrap.errors import DataError

_TRAIN_TEST = ("train", "test")
_FACES = {"train": 0.8, "test": 0.2}


@runtime_checkable
class NamedSet(Protocol):
    """A data set that a spec string can name."""

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]

    def load(self, split: str) -> ImageSet:
        """One of its splits.

        Raises:
            UsageError: There is no such split, or the set is not on this machine.
            DataError: Its files are broken.
        """


@dataclass(frozen=True, kw_only=True)
class Mnist(ChosenClasses):
    """MNIST: 60,000 and 10,000 handwritten digits, 28x28 grey (LeCun, Cortes and Burges)."""

    name: ClassVar[str] = "mnist"
    splits: ClassVar[tuple[str, ...]] = _TRAIN_TEST

    def _read(self, split: str) -> ImageSet:
        """``train`` or ``test``, from ``mnist.npz`` or the owners' idx files."""
        stem = "train" if split == "train" else "t10k"
        layouts = ("mnist.npz", *_idx_layouts(("mnist", "MNIST/raw"), stem))
        path = find(self.name, layouts, "https://ossci-datasets.s3.amazonaws.com/mnist, a mirror of its owners' files")
        return _digits(path, split, self.name, tuple(map(str, range(10))))


@dataclass(frozen=True, kw_only=True)
class FashionMnist(ChosenClasses):
    """Fashion-MNIST: 60,000 and 10,000 pieces of clothing, 28x28 grey (Xiao, Rasul and Vollgraf, 2017)."""

    name: ClassVar[str] = "fashion_mnist"
    splits: ClassVar[tuple[str, ...]] = _TRAIN_TEST

    def _read(self, split: str) -> ImageSet:
        """``train`` or ``test``, from Debian's package ``dataset-fashion-mnist`` or the owners' idx files."""
        stem = "train" if split == "train" else "t10k"
        layouts = (*_idx_layouts(("fashion-mnist", "FashionMNIST/raw"), stem), "fashion_mnist.npz")
        source = "Debian's package dataset-fashion-mnist, or https://github.com/zalandoresearch/fashion-mnist"
        names = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
        return _digits(find(self.name, layouts, source), split, self.name, tuple(names.split(",")))


@dataclass(frozen=True, kw_only=True)
class Cifar10(ChosenClasses):
    """CIFAR-10: 50,000 and 10,000 photographs in 10 classes, 32x32 colour (Krizhevsky, 2009).

    ``cifar10_jpeg.npz`` holds 20,000 and 10,000 of them, recompressed as JPEG; the split ``lossless`` is 200 test
    images with exact pixels.
    """

    name: ClassVar[str] = "cifar10"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "lossless")

    def _read(self, split: str) -> ImageSet:
        """``train``, ``test`` or ``lossless``, from the owners' binary version or an ``.npz`` file."""
        source = "https://www.cs.toronto.edu/~kriz/cifar.html, the binary version"
        if split == "lossless":
            arrays = Arrays(find(f"{self.name}, split lossless,", ("cifar10_test_lossless200.npz",), source))
            return _from_arrays(arrays, "x", "y", self.name)
        first = "data_batch_1.bin" if split == "train" else "test_batch.bin"
        path = find(self.name, (f"cifar-10-batches-bin/{first}", "cifar10_jpeg.npz"), source)
        return self._binary(path.parent, split) if path.suffix == ".bin" else self._jpeg(Arrays(path), split)

    def _jpeg(self, arrays: Arrays, split: str) -> ImageSet:
        content, offsets = arrays.read(f"{split}_jpeg"), arrays.read(f"{split}_offsets").astype(np.int64)
        labels = as_labels(arrays.read(f"y_{split}"), f"y_{split} of {arrays.path}")
        whole = content.tobytes()
        items = tuple(
            Picture(whole[start:stop], f"image {i} of {split} of {arrays.path}")
            for i, (start, stop) in enumerate(pairwise(offsets))
        )
        pictures = Pictures(items, self.name, tuple(labels.tolist()), _names(arrays))
        return pictures.open(resize=(32, 32), channels=3)

    def _binary(self, folder: Path, split: str) -> ImageSet:
        files = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
        rows = np.concatenate([_records(folder / file) for file in files])
        meta = folder / "batches.meta.txt"
        names = meta.read_text(encoding="utf-8", errors="replace").split() if meta.is_file() else ()
        pixels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return ImageSet.from_array(pixels, rows[:, 0], class_names=names, name=self.name)


@dataclass(frozen=True, kw_only=True)
class Lfw(ChosenClasses):
    """Labeled Faces in the Wild: 151 people with at least ten grey 64x64 crops each (Huang et al., 2007).

    The crops have no published split: ``train`` and ``test`` are 80 and 20 % of each person, chosen by a hash of the
    pixels. The split ``scan`` is 1,000 faces of other people, 55x47, without labels.
    """

    name: ClassVar[str] = "lfw"
    splits: ClassVar[tuple[str, ...]] = ("train", "test", "scan")

    def _read(self, split: str) -> ImageSet:
        """``train``, ``test`` or ``scan``, from ``faces_lfw64.npz`` and ``faces_lfw_scan_55x47.npz``."""
        file = "faces_lfw_scan_55x47.npz" if split == "scan" else "faces_lfw64.npz"
        arrays = Arrays(find(self.name, (file,), "https://vis-www.cs.umass.edu/lfw, cropped to the face"))
        if split == "scan":
            return ImageSet.from_array(arrays.read("x"), name=self.name)
        return _faces(_from_arrays(arrays, "x", "y", self.name, names="names"), split)


@dataclass(frozen=True, kw_only=True)
class Orl(ChosenClasses):
    """The ORL faces: 40 people, ten grey 112x92 images each (credit: Olivetti Research Laboratory, Cambridge).

    There is no published split: ``train`` and ``test`` are 8 and 2 images of each person, chosen by a hash of the
    pixels.
    """

    name: ClassVar[str] = "orl"
    splits: ClassVar[tuple[str, ...]] = _TRAIN_TEST

    def _read(self, split: str) -> ImageSet:
        """``train`` or ``test``, from ``faces_orl.npz`` or the owners' folders ``orl/s1`` to ``orl/s40``."""
        source = "https://cam-orl.co.uk/facedatabase.html"
        path = find(self.name, ("faces_orl.npz", "orl/s1", "att_faces/s1"), source)
        if path.suffix == ".npz":
            return _faces(_from_arrays(Arrays(path), "x", "y", self.name), split)
        pictures = read_folder(path.parent, "all")
        people = [int(name.removeprefix("s")) - 1 for name in pictures.class_names]
        labels = [people[label] for label in pictures.labels or ()]
        images = Pictures(pictures.items, self.name, tuple(labels)).open()
        return _faces(images, split)


NAMED: Registry[NamedSet] = Registry("data set", [Mnist, FashionMnist, Gtsrb, Cifar10, Lfw, Orl, Signs])
"""Every named set, by name."""


def _faces(images: ImageSet, split: str) -> ImageSet:
    return part(images, _FACES, rng=Rng(0).child("faces"))[split]


def _idx_layouts(folders: Sequence[str], stem: str) -> list[str]:
    return [f"{folder}/{stem}-images-idx3-ubyte{end}" for folder in folders for end in (".gz", "")]


def _digits(path: Path, split: str, name: str, class_names: tuple[str, ...]) -> ImageSet:
    if path.suffix == ".npz":
        return _from_arrays(Arrays(path), f"x_{split}", f"y_{split}", name, class_names=class_names)
    images = read_idx_folder(path.parent, split)
    return ImageSet(images.source, images.labels, class_names=class_names, name=name)


def _from_arrays(
    arrays: Arrays, x: str, y: str, name: str, *, names: str = "class_names", class_names: tuple[str, ...] = ()
) -> ImageSet:
    labels = as_labels(arrays.read(y), f"{y} of {arrays.path}")
    return ImageSet.from_array(arrays.read(x), labels, class_names=class_names or _names(arrays, names), name=name)


def _names(arrays: Arrays, key: str = "class_names") -> tuple[str, ...]:
    return tuple(map(str, arrays.read(key))) if arrays.first(key) else ()


def _records(path: Path) -> "np.ndarray":
    content = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)
    if content.size == 0 or content.size % 3073 or content[::3073].max() > 9:
        raise DataError(
            expected=f"records of 3073 bytes, a label from 0 to 9 and 32x32x3 pixels, in {path}",
            got=f"{content.size} bytes" if path.is_file() else "no such file",
            remedy="Unpack the archive of CIFAR-10's binary version again.",
        )
    return content.reshape(-1, 3073)
