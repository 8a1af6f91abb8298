"""Images as bytes in a Parquet table, the layout of the Hugging Face hub. Needs the extra ``parquet``."""

import json
from pathlib import Path
from typing import Any

from mantrap.core.extras import from_extra
from mantrap.data.files import refuse_bomb, require_file
from mantrap.data.pictures import Picture, Pictures
from mantrap.data.splits import only_whole
from mantrap.errors import DataError


def read_parquet(path: Path, split: str) -> Pictures:
    """The pictures of a table with the columns ``image`` (bytes, or a struct with ``bytes``) and, perhaps, ``label``.

    Class names are taken from the table's Hugging Face metadata where it has any.

    Raises:
        MissingExtraError: pyarrow is not installed.
        MissingDataError: There is no such file.
        DataError: It is no Parquet file, or has other columns.
    """
    only_whole(split, str(path))
    require_file(path)
    pyarrow, parquet = arrow()
    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if "image" not in columns:
                raise DataError(
                    expected=f"a column 'image' in {path}",
                    got=f"the columns {', '.join(map(repr, columns)) or 'none at all'}",
                    remedy="Name the column of image bytes image, and the one of labels label.",
                )
            wanted = [name for name in ("image", "label") if name in columns]
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            refuse_bomb(path, unpacked=sum(group.total_byte_size for group in groups), packed=path.stat().st_size)
            table = file.read(columns=wanted)
            names = _class_names(file.schema_arrow.metadata or {})
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            expected=f"a whole Parquet file at {path}", got=f"{error!s:.200}", remedy="Fetch or write the file again."
        ) from error
    cells = table.column("image").to_pylist()
    items = tuple(Picture(_content(cell, path, row), f"row {row} of {path}") for row, cell in enumerate(cells))
    labels = _labels(table.column("label").to_pylist(), path) if "label" in wanted else None
    return Pictures(items, name=path.name, labels=labels, class_names=names if labels is not None else ())


def arrow() -> tuple[Any, ...]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    return from_extra("parquet", "pyarrow", "pyarrow.parquet", does="which reads and writes Parquet files")


def _content(cell: Any, path: Path, row: int) -> bytes:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise DataError(
            expected=f"the bytes of an image file in row {row} of {path}",
            got=type(content).__name__,
            remedy="Embed the images in the table.",
        )
    return content


def _labels(values: list[Any], path: Path) -> tuple[int, ...]:
    for row, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise DataError(
                expected=f"a class number from 0 up in row {row} of {path}",
                got=repr(value),
                remedy="Number the classes, or leave the column out.",
            )
    return tuple(values)


def _class_names(metadata: dict[bytes, bytes]) -> tuple[str, ...]:
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):  # a table that nobody described this way has no class names
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
