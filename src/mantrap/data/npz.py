"""Images and labels in NumPy's ``.npz`` files, read without pickles and without unpacking bombs."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mantrap.core import ImageSet
from mantrap.data.files import refuse_bomb, require_file
from mantrap.data.splits import no_such_split, only_whole
from mantrap.errors import DataError

_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
)
_CHANNELS = (1, 3)


class Arrays:
    """The arrays of an ``.npz`` file, each read when it is asked for.

    Raises:
        MissingDataError: There is no such file.
        DataError: It is no ``.npz`` file.
    """

    def __init__(self, path: Path) -> None:
        require_file(path)
        self.path = path
        with self._archive() as archive:
            self._members = {
                i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")
            }

    @property
    def names(self) -> tuple[str, ...]:
        """What the file holds, sorted."""
        return tuple(sorted(self._members))

    def first(self, *names: str) -> str | None:
        """The first of these names that the file holds."""
        return next((name for name in names if name in self._members), None)

    def read(self, name: str) -> "np.ndarray":
        """One array.

        Raises:
            DataError: It is not there, broken, of Python objects, or claims to be far larger than its file.
        """
        if name not in self._members:
            raise self._lacks(name)
        member = self._members[name]
        refuse_bomb(self.path, unpacked=member.file_size, packed=member.compress_size)
        with self._archive() as archive, archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = parse(file)
            held = member.file_size - file.tell()
            if dtype.hasobject or int(np.prod(shape, dtype=object)) * dtype.itemsize != held:
                raise ValueError(f"{name} is declared as {dtype} of shape {shape} over {held} bytes")
        with self._archive() as archive, archive.open(member) as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array

    def lacks(self, expected: str, remedy: str) -> DataError:
        """The error that an expected array is not there; it lists what is."""
        return DataError(
            expected=f"{expected} in {self.path}",
            got=f"the arrays {', '.join(map(repr, self.names)) or 'none at all'}",
            remedy=remedy,
        )

    def _lacks(self, name: str) -> DataError:
        return self.lacks(f"an array {name!r}", "Fetch the file again, or name the array so.")

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except _BROKEN as error:
            raise DataError(
                expected=f"a whole .npz file of plain arrays at {self.path}",
                got=f"{error!s:.200}",
                remedy="Fetch or write the file again with numpy.savez.",
            ) from error


def read_npz(path: Path, split: str) -> ImageSet:
    """A set from somebody's ``.npz`` file.

    Images are ``x_train`` and ``x_test`` (or ``x_`` and any other split's name) with ``y_...`` beside them, or the one
    set ``x`` or ``images`` with ``y`` or ``labels``. Arrays are [n, h, w], [n, h, w, c] or [n, c, h, w] with c of 1 or
    3, as uint8 or as floats in [0, 1]. ``class_names`` may name the classes.

    Raises:
        MissingDataError: There is no such file.
        UsageError: It has splits, but not this one.
        DataError: No images are found in it, or arrays of another kind.
    """
    arrays = Arrays(path)
    splits = [name[2:] for name in arrays.names if name.startswith("x_")]
    if f"x_{split}" in arrays.names:
        x, y = f"x_{split}", arrays.first(f"y_{split}")
    elif splits:
        raise no_such_split(split, splits, str(path))
    else:
        found = arrays.first("x", "images")
        if found is None:
            raise arrays.lacks(
                "an array 'x', 'images', 'x_train' or 'x_test'", "Name the images x and the labels y when saving."
            )
        only_whole(split, str(path))
        x, y = found, arrays.first("y", "labels")
    names = tuple(str(name) for name in arrays.read("class_names")) if arrays.first("class_names") else ()
    labels = None if y is None else as_labels(arrays.read(y), f"{y} of {path}")
    return ImageSet.from_array(as_images(arrays.read(x), f"{x} of {path}"), labels, class_names=names, name=path.name)


def as_images(array: "np.ndarray", where: str) -> "np.ndarray":
    """Images as uint8 or floats with the channels last, wherever they are in the array.

    Raises:
        DataError: They are of another type or shape.
    """
    plain = array.dtype == np.uint8 or array.dtype.kind == "f"
    if plain and array.ndim == 4 and array.shape[3] not in _CHANNELS and array.shape[1] in _CHANNELS:
        array = array.transpose(0, 2, 3, 1)
    if not plain or not (array.ndim == 3 or (array.ndim == 4 and array.shape[3] in _CHANNELS)):
        raise DataError(
            expected=f"uint8 or floats of shape [n, h, w], [n, h, w, c] or [n, c, h, w], c being 1 or 3, in {where}",
            got=f"{array.dtype} of shape {array.shape}",
            remedy="Reshape or convert the array.",
        )
    return array if array.dtype == np.uint8 else array.astype(np.float32)


def as_labels(array: "np.ndarray", where: str) -> "np.ndarray":
    """Labels as one integer for each image; a column counts as a row.

    Raises:
        DataError: They are no integers, or not one for each image.
    """
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise DataError(
            expected=f"one integer for each image in {where}",
            got=f"{array.dtype} of shape {array.shape}",
            remedy="Save the class numbers, for example one_hot.argmax(1).",
        )
    return flat
