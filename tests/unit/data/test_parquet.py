import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mantrap.data import load
from mantrap.errors import DataError, MissingExtraError

pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def table(path: Path, columns: dict[str, list[object]], metadata: dict[str, str] | None = None) -> str:
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path / "set.parquet")
    return str(path / "set.parquet")


def test_bytes_and_structs_of_bytes(tmp_path: Path):
    files = [png(p) for p in PIXELS]
    structs = [{"bytes": f, "path": "x.png"} for f in files]
    for cells in (files, structs):
        images = load(table(tmp_path, {"image": cells, "label": [2, 0, 1], "other": [None] * 3}))
        assert (images.source.read(range(3)).permute(0, 2, 3, 1).numpy() == PIXELS).all()
        assert images.labels.tolist() == [2, 0, 1]


def test_labels_are_optional_and_classes_may_have_names(tmp_path: Path):
    files = [png(p) for p in PIXELS]
    assert load(table(tmp_path, {"image": files})).labels is None
    described = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"]}}}})}
    assert load(table(tmp_path, {"image": files, "label": [0, 1, 1]}, described)).class_names == ("cat", "dog")
    assert load(table(tmp_path, {"image": files, "label": [0, 1, 1]}, {"huggingface": "{"})).class_names == ()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"img": [b"x"], "label": [0]}, "a column 'image' in .* got the columns 'img', 'label'"),
        ({"image": [png(PIXELS[0]), b"rubbish"]}, "a whole image .* in row 1 of"),
        ({"image": [png(PIXELS[0]), None]}, "the bytes of an image file in row 1 of"),
        ({"image": [3]}, "the bytes of an image file in row 0 of"),
        ({"image": [png(PIXELS[0])], "label": ["cat"]}, "a class number from 0 up in row 0 of .* got 'cat'"),
        ({"image": [png(PIXELS[0])], "label": [-1]}, "a class number from 0 up in row 0 of .* got -1"),
    ],
)
def test_tables_that_hold_something_else(tmp_path: Path, columns, message):
    with pytest.raises(DataError, match=message):
        load(table(tmp_path, columns))


def test_a_file_that_is_no_table(tmp_path: Path):
    (tmp_path / "set.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="a whole Parquet file"):
        load(str(tmp_path / "set.parquet"))


def test_the_missing_extra_names_itself(tmp_path: Path, monkeypatch):
    path = table(tmp_path, {"image": [png(PIXELS[0])]})

    def refuse(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'mantrap\[parquet\]'"):
        load(path)
