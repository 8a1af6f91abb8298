"""Files that are not what they should be: one sentence each, and nothing of them is run."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from mantrap.errors import MissingDataError, ModelError
from mantrap.models.sniffing import Container, container_of


def torch_bytes(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def zip_bytes(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


WEIGHTS = {"weight": torch.arange(600.0)}
STORED = safetensors.torch.save(WEIGHTS)
ZIPPED = torch_bytes(WEIGHTS)


@pytest.mark.parametrize(
    ("data", "container"),
    [
        (STORED, Container.SAFETENSORS),
        (ZIPPED, Container.TORCH_ZIP),
        (torch_bytes(WEIGHTS, _use_new_zipfile_serialization=False), Container.TORCH_LEGACY),
    ],
)
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model"])
def test_the_content_tells_the_format_and_not_the_name(tmp_path, data, container, name):
    (tmp_path / name).write_bytes(data)
    assert container_of(tmp_path / name) is container


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


def header(length, rest=b"{}"):
    return struct.pack("<Q", length) + rest


FILES = {
    "empty": (b"", "an empty file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"),
    "html": (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "a web page"),
    "html_bom": (b"\xef\xbb\xbf<HTML lang=en>", "a web page"),
    "half_zip": (ZIPPED[: len(ZIPPED) // 2], "half an archive"),
    "half_header": (STORED[:20], "half a safetensors file"),
    "huge_header": (header(16 * 2**20 + 1), "a safetensors header of 16777217 bytes"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "keras": (zip_bytes({"config.json": b"{}", "model.weights.h5": b"h5"}), "a Keras model"),
    "torchscript": (zip_bytes({"m/data.pkl": b"x", "m/constants.pkl": b"x"}), "a TorchScript program"),
    "exported": (zip_bytes({"serialized_exported_program.json": b"{}"}), "torch.export"),
    "npz": (npz(), "a NumPy archive"),
    "other_zip": (zip_bytes({"word/document.xml": b"<x/>"}), "torch.save did not write"),
    "two_pickles": (zip_bytes({"a/data.pkl": b"x", "b/data.pkl": b"x"}), "torch.save did not write"),
    "bomb": (zip_bytes({"m/data.pkl": bytes(10**6)}, zipfile.ZIP_DEFLATED), "unpacks to more than its size"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x03" + bytes(50), "an ONNX model"),
    "pickle": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}.", "a pickled Python object"),
    "gzip": (b"\x1f\x8b\x08" + bytes(30), "a gzip archive"),
    "unknown": (b"hello world, this is text", "unknown format (it begins with 68 65 6c 6c"),
}


@pytest.mark.parametrize("kind", FILES)
def test_every_foreign_file_gets_its_own_sentence(tmp_path, kind):
    data, sentence = FILES[kind]
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(ModelError) as caught:
        container_of(tmp_path / "model.pt")
    assert sentence in str(caught.value)
    assert str(tmp_path / "model.pt") in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_real_torchscript_program_is_recognised(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "m.pt"))
    with pytest.raises(ModelError, match="a TorchScript program"):
        container_of(tmp_path / "m.pt")


def test_a_huge_table_of_contents_is_not_read(tmp_path):
    data = bytearray(zip_bytes({"m/data.pkl": b"x"}))
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<L", 5 * 2**20)
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(ModelError, match="table of contents of"):
        container_of(tmp_path / "m.pt")


def test_a_zip64_end_record_counts_above_the_plain_one(tmp_path):
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 2**40, 0)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 4, 1)
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 1, 1, 40, 0, 0)
    (tmp_path / "m.pt").write_bytes(b"PK\x03\x04" + record + locator + end)
    with pytest.raises(ModelError, match=f"table of contents of {2**40} bytes"):
        container_of(tmp_path / "m.pt")


@pytest.mark.parametrize("cut", [4, 100, 30, -1, -20, -60])
def test_no_half_of_an_archive_gets_through_with_another_kind_of_error(tmp_path, cut):
    (tmp_path / "m.pt").write_bytes(ZIPPED[:cut])
    with pytest.raises(ModelError, match=r"half an archive|a broken zip|unknown format"):
        container_of(tmp_path / "m.pt")


def test_no_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(MissingDataError, match="nothing there"):
        container_of(tmp_path / "none.pt")
    with pytest.raises(MissingDataError, match="a folder"):
        container_of(tmp_path)


def test_a_header_that_is_json_of_the_right_length_passes(tmp_path):
    text = json.dumps({}).encode().ljust(8)
    (tmp_path / "m").write_bytes(header(8, text))
    assert container_of(tmp_path / "m") is Container.SAFETENSORS
