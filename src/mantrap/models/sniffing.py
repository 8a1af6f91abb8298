"""What a model file is, by its first bytes and its table of contents; nothing of it is run or unpacked."""

import enum
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from mantrap.errors import MissingDataError, ModelError

SAVE_THE_WEIGHTS = "Save the weights alone, as safetensors or with torch.save(model.state_dict(), FILE)."
FETCH_AGAIN = "Get the whole file again."
MOST_HEADER = 16 * 2**20
"""Bytes that a safetensors header may have."""
_MOST_DIRECTORY = 4 * 2**20
"""Bytes that a zip archive's table of contents may have: enough for some 60,000 tensors."""

_ZIP, _ZIP_END, _ZIP64_LOCATOR = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x07"
_PICKLE = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_SAFETENSORS_PREFIX = 8

_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself", "Run `git lfs pull`."),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes it",
        "Load it in Keras and hand over its weights in PyTorch.",
    ),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it first."),
    (b"BZh", "a bzip2 archive", "Unpack it first."),
    (b"\xfd7zXZ", "an xz archive", "Unpack it first."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first."),
    (b"GGUF", "a GGUF file", SAVE_THE_WEIGHTS),
    (b"\x93NUMPY", "a NumPy array", SAVE_THE_WEIGHTS),
    (b"\x89PNG", "a picture", "Give the model file."),
)
_MEMBERS: tuple[tuple[str, str], ...] = (
    ("constants.pkl", "a TorchScript program"),
    ("model.weights.h5", "a Keras model"),
    ("serialized_exported_program.json", "a program of torch.export"),
    ("models/model.json", "a program of torch.export"),
    (".npy", "a NumPy archive"),
)


class Container(enum.Enum):
    """The formats that are read."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "a file of torch.save"
    TORCH_LEGACY = "a file of torch.save before PyTorch 1.6"


def container_of(path: Path) -> Container:
    """Tell the format of a model file.

    Raises:
        MissingDataError: There is no such file.
        ModelError: It cannot be read, is broken, or is of a format that is not read; each with its own sentence.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "nothing there"
        raise MissingDataError(
            expected=f"a model file at {path}", got=what, remedy="Give the path of a file of weights."
        )
    try:
        with path.open("rb") as file:
            return _by_content(file, path)
    except OSError as error:
        got = error.strerror or str(error)
        raise ModelError(expected=f"to read {path}", got=got, remedy="Make the file readable.") from error


def refused(path: Path, got: str, remedy: str) -> ModelError:
    """The refusal of a file that is not what it should be."""
    return ModelError(expected=f"safetensors or a PyTorch state dict in {path}", got=got, remedy=remedy)


def _by_content(file: BinaryIO, path: Path) -> Container:
    size = path.stat().st_size
    head = file.read(512)
    if not head:
        raise refused(path, "an empty file", FETCH_AGAIN)
    if head.startswith(_ZIP):
        _check_zip(file, path, size)
        return Container.TORCH_ZIP
    if head.startswith(_TORCH_LEGACY):
        return Container.TORCH_LEGACY
    for magic, what, remedy in _FOREIGN:
        if head.startswith(magic):
            raise refused(path, what, remedy)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise refused(path, "a web page", "Download the file itself, not the page that shows it.")
    if head.startswith(_PICKLE):
        raise refused(path, "a pickled Python object, which could run code", SAVE_THE_WEIGHTS)
    if head[_SAFETENSORS_PREFIX : _SAFETENSORS_PREFIX + 1] == b"{":
        _check_header(head, path, size)
        return Container.SAFETENSORS
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a"):
        raise refused(path, "an ONNX model", "Hand over the PyTorch weights that it was exported from.")
    raise refused(path, f"a file of unknown format (it begins with {head[:8].hex(' ')})", SAVE_THE_WEIGHTS)


def _check_header(head: bytes, path: Path, size: int) -> None:
    (length,) = struct.unpack("<Q", head[:_SAFETENSORS_PREFIX])
    if length > MOST_HEADER:
        got = f"a safetensors header of {length} bytes, more than {MOST_HEADER}"
        raise refused(path, got, "Ask the owner for an honest file.")
    if _SAFETENSORS_PREFIX + length > size:
        raise refused(path, f"half a safetensors file (it ends within its header, at {size} bytes)", FETCH_AGAIN)


def _check_zip(file: BinaryIO, path: Path, size: int) -> None:
    """See that an archive holds one state dict, stored and not deflated, before anything is unpacked."""
    length = _directory_length(file, size)
    if length is None:
        raise refused(path, "half an archive (its end is missing)", FETCH_AGAIN)
    if length > _MOST_DIRECTORY:
        raise refused(path, f"a zip archive with a table of contents of {length} bytes", "Ask for an honest file.")
    try:
        members = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, struct.error) as error:
        raise refused(path, f"a broken zip archive ({error})", FETCH_AGAIN) from error
    names = [member.filename for member in members]
    for suffix, what in _MEMBERS:
        if any(name.endswith(suffix) for name in names):
            raise refused(path, what, SAVE_THE_WEIGHTS)
    if sum(name.rpartition("/")[2] == "data.pkl" for name in names) != 1 or len(set(names)) != len(names):
        raise refused(path, "a zip archive that torch.save did not write", SAVE_THE_WEIGHTS)
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > size:
        raise refused(path, "an archive that unpacks to more than its size", SAVE_THE_WEIGHTS)


def _directory_length(file: BinaryIO, size: int) -> int | None:
    """Bytes of a zip archive's table of contents as its end record says; ``None`` where that record is missing."""
    start = max(0, size - 22 - 65535)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(_ZIP_END)
    if end < 0 or end + 22 > len(tail):
        return None
    length: int
    if end >= 20 and tail[end - 20 : end - 16] == _ZIP64_LOCATOR:
        (record,) = struct.unpack("<Q", tail[end - 12 : end - 4])
        if record + 56 > size:
            return None
        file.seek(record)
        (length,) = struct.unpack("<Q", file.read(56)[40:48])
    else:
        (length,) = struct.unpack("<L", tail[end + 12 : end + 16])
    return length
