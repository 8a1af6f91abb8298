"""Write a labelled set in the forms that this package and others read: ``.npz``, Parquet, or a folder of PNGs."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mantrap.core import SILENT, ImageSet, Progress, Stage
from mantrap.core.sources import SourceOver
from mantrap.data.folder import NAMES, TABLE
from mantrap.data.parquet import arrow
from mantrap.errors import DataError, OutputError, UsageError
from mantrap.records.files import discard, drafted, left_by_kills

SPLIT = "train"
"""The split that an ``.npz`` file or a folder is written as; a Parquet file is not divided."""

_BATCH = 256
_OURS = re.compile(rf"{SPLIT}(/({re.escape(TABLE)}|{re.escape(NAMES)}|\d+(/\d+\.png)?))?")
"""What lies in a folder that was written here."""


def save(images: ImageSet, out: Path, *, progress: Progress = SILENT) -> None:
    """Write a set so that :func:`mantrap.data.load` reads the same pixels, labels and class names in the same order.

    Images are read and written a few at a time. Nothing half-written is left by a failure.

    - ``NAME.npz``: ``x_train`` [n, h, w, c] as uint8, ``y_train`` and ``class_names``.
    - ``NAME.parquet``: the columns ``image`` (a struct of ``bytes``, a PNG, and ``path``) and ``label``, with the
      metadata by which Hugging Face's ``datasets`` knows them. Needs the extra ``parquet``.
    - A name without a suffix: a folder ``train`` of a folder of PNGs for each class, named by its number, and
      ``labels.csv`` and ``classes.csv``, which keep the order of the images and the names of the classes.

    Args:
        images: Labelled images, grey or with three channels; see :func:`in_bytes` for floating point ones.
        out: Where to put it.
        progress: Observer of the work.

    Raises:
        UsageError: The name has another suffix.
        MissingExtraError: pyarrow is not installed.
        DataError: The images have no labels, or neither 1 nor 3 channels.
        OutputError: The place cannot be written.
    """
    with saving(images, out, progress=progress):
        pass


@contextmanager
def saving(images: ImageSet, out: Path, *, progress: Progress = SILENT) -> Iterator[None]:
    """Write a set as :func:`save` does; inside it is whole, and it takes its name when the context ends well.

    So what was there before can stay until then. Raises what :func:`save` raises.
    """
    write, images = writer_for(images, out), in_bytes(images)
    with drafted(out) as draft:
        with progress.stage("write", len(images)) as stage:
            write(images, draft, stage)
        yield
    for stale in left_by_kills(out):
        discard(stale)


def writer_for(images: ImageSet, out: Path) -> "Writer":
    """What writes a set to a place of this name; whoever has long work to do first asks before it.

    Raises:
        UsageError: The name has a suffix that nothing is written for.
        MissingExtraError: pyarrow is not installed.
        DataError: The images have no labels, or neither 1 nor 3 channels.
    """
    if out.suffix not in _WRITERS:
        raise UsageError(
            expected="a name that ends in .npz or .parquet, or one without a suffix for a folder",
            got=str(out),
            remedy="Rename the output.",
        )
    if out.suffix == ".parquet":
        arrow()
    if images.labels is None or images.shape[0] not in (1, 3):
        raise DataError(
            expected=f"labelled images with 1 or 3 channels in {images.name}",
            got=f"{'labelled' if images.labelled else 'unlabelled'} ones with {images.shape[0]}",
            remedy="Give others, or convert them.",
        )
    return _WRITERS[out.suffix]


def take_away(out: Path) -> None:
    """Remove a set that :func:`save` wrote.

    Raises:
        OutputError: It is a folder that holds anything else.
    """
    inside = [path.relative_to(out).as_posix() for path in out.rglob("*")] if out.is_dir() else []
    strange = sorted(name for name in inside if not _OURS.fullmatch(name))
    if strange:
        raise OutputError(
            expected=f"a folder {out} that holds nothing but a set of images that was written here",
            got=f"one that holds {', '.join(strange[:3])}",
            remedy="Choose another --out.",
        )
    discard(out)


def in_bytes(images: ImageSet) -> ImageSet:
    """The same images with pixels of 8 bits: floating point values are rounded as they are read."""
    return images if images.source.read([0]).dtype == torch.uint8 else images.over(_Rounded(images.source))


@dataclass(frozen=True, eq=False)
class _Rounded(SourceOver):
    """Another source's floating point pixels as 8 bits."""

    def read(self, index: Sequence[int]) -> Tensor:
        return (self.source.read(index) * 255).round().to(torch.uint8)


def _rows(images: ImageSet, stage: Stage) -> "Iterator[tuple[int, np.ndarray]]":
    """The index of the first of some images, and their pixels, [n, h, w, c]."""
    for start in range(0, len(images), _BATCH):
        pixels = images.source.read(range(start, min(start + _BATCH, len(images))))
        yield start, np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
        stage.advance(len(pixels))


def _write_npz(images: ImageSet, draft: Path, stage: Stage) -> None:
    channels, height, width = images.shape
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), height, width, channels)}
    arrays = {"y_train": _labels(images)}
    if images.class_names:
        arrays["class_names"] = np.array(images.class_names)
    with zipfile.ZipFile(draft, "x", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x_train.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _, pixels in _rows(images, stage):
                file.write(pixels.tobytes())
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _write_parquet(images: ImageSet, draft: Path, stage: Stage) -> None:
    pyarrow, parquet = arrow()
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", picture), ("label", pyarrow.int64())], metadata=_described(images))
    labels = _labels(images)
    with parquet.ParquetWriter(draft, schema) as file:
        for start, pixels in _rows(images, stage):
            cells = [{"bytes": _png(one), "path": _file(images, start + i)} for i, one in enumerate(pixels)]
            table = pyarrow.table({"image": cells, "label": labels[start : start + len(cells)]}, schema=schema)
            file.write_table(table)


def _write_folder(images: ImageSet, draft: Path, stage: Stage) -> None:
    folder = draft / SPLIT
    labels = _labels(images).tolist()
    digits = len(str(max(labels)))  # so that those who sort the names get the numbers
    table: list[tuple[str, int]] = []
    for label in sorted(set(labels)):
        (folder / f"{label:0{digits}}").mkdir(parents=True)
    for start, pixels in _rows(images, stage):
        for i, one in enumerate(pixels, start):
            name = f"{labels[i]:0{digits}}/{_file(images, i)}"
            (folder / name).write_bytes(_png(one))
            table.append((name, labels[i]))
    _write_table(folder / TABLE, ("file", "label"), table)
    if images.class_names:
        _write_table(folder / NAMES, ("label", "name"), enumerate(images.class_names))


Writer = Callable[[ImageSet, Path, Stage], None]
_WRITERS: dict[str, Writer] = {".npz": _write_npz, ".parquet": _write_parquet, "": _write_folder}


def _labels(images: ImageSet) -> "np.ndarray":
    assert images.labels is not None
    labels: np.ndarray = images.labels.numpy()
    return labels


def _file(images: ImageSet, index: int) -> str:
    return f"{index:0{len(str(len(images) - 1))}}.png"


def _png(pixels: "np.ndarray") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def _described(images: ImageSet) -> dict[str, str]:
    """What Hugging Face's ``datasets`` writes of the columns into a table."""
    label: dict[str, Any] = {"dtype": "int64", "_type": "Value"}
    if images.class_names:
        label = {"names": list(images.class_names), "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}})}


def _write_table(path: Path, heading: tuple[str, str], rows: Iterable[tuple[object, object]]) -> None:
    with path.open("x", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(heading)
        table.writerows(rows)
