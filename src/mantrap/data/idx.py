"""The idx files of MNIST and its relatives, plain or gzipped."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from mantrap.core import ImageSet
from mantrap.data.files import refuse_bomb, require_file
from mantrap.data.splits import no_such_split
from mantrap.errors import DataError

_STEMS = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = 3, 1
_UINT8 = 8


def idx_images(folder: Path, split: str) -> Path | None:
    """The file of a split's images in a folder, under the names of their owners, or ``None``."""
    stems = [f"{_STEMS.get(split, split)}-images{mark}idx3-ubyte" for mark in "-."]
    return next((p for stem in stems for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)


def holds_idx(folder: Path) -> bool:
    """Whether any split's images lie in this folder."""
    return any(idx_images(folder, split) for split in _STEMS)


def read_idx_folder(folder: Path, split: str) -> ImageSet:
    """One split out of a folder of idx files.

    Raises:
        UsageError: The folder holds other splits only.
        DataError: A file is broken.
    """
    images = idx_images(folder, split)
    if images is None:
        raise no_such_split(split, [s for s in _STEMS if idx_images(folder, s)], str(folder))
    return read_idx(images)


def read_idx(path: Path) -> ImageSet:
    """Images from an idx file, with the labels of the ``labels-idx1`` file beside it where there is one.

    Raises:
        MissingDataError: There is no such file.
        DataError: A file is broken, or the two do not fit each other.
    """
    stem = path.name.removesuffix(".gz")
    for images, labels_ in (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1")):
        stem = stem.replace(images, labels_)
    beside = (path.with_name(stem), path.with_name(f"{stem}.gz"))
    labels = next((other for other in beside if other.is_file() and other != path), None)
    return ImageSet.from_array(
        _read(path, _IMAGES), None if labels is None else _read(labels, _LABELS), name=path.parent.name or path.name
    )


def _read(path: Path, dimensions: int) -> "np.ndarray":
    require_file(path)
    packed = path.stat().st_size
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zeros, kind, rank = struct.unpack(">HBB", file.read(4))
            if (zeros, kind, rank) != (0, _UINT8, dimensions):
                raise _broken(path, dimensions, f"the magic number {zeros:04x}{kind:02x}{rank:02x}")
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            size = int(np.prod(shape, dtype=object))
            refuse_bomb(path, unpacked=size, packed=packed)
            if size == 0:
                raise _broken(path, dimensions, f"shape {shape}")
            content = file.read(size)
            if len(content) != size or file.read(1):
                raise _broken(
                    path, dimensions, f"{'more' if len(content) == size else len(content)} bytes for shape {shape}"
                )
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise _broken(path, dimensions, f"{type(error).__name__}: {error!s:.120}") from error
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)


def _broken(path: Path, dimensions: int, got: str) -> DataError:
    return DataError(
        expected=f"a whole idx file of uint8 with {dimensions} dimension{'s' if dimensions > 1 else ''} at {path}",
        got=got,
        remedy="Fetch the file again.",
    )
