"""Folders of image files: a folder for each class, a table of labels, or images alone."""

import csv
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mantrap.data.decode import SUFFIXES
from mantrap.data.files import inside, is_there
from mantrap.data.pictures import Picture, Pictures
from mantrap.data.splits import no_such_split, only_whole
from mantrap.errors import DataError

TABLE = "labels.csv"
NAMES = "classes.csv"
SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation")

_NUMBER = re.compile(r"[0-9]{1,9}")
_log = logging.getLogger(__name__)


def read_folder(folder: Path, split: str) -> Pictures:
    """The pictures of a folder, undecoded.

    The folder holds ``labels.csv`` with the columns ``file`` and ``label``, and perhaps ``classes.csv`` with ``label``
    and ``name``, which names every class in the order of its number; or a folder for each class; or images alone, which
    then have no labels; or a folder for each split (``train``, ``test``, ...) that holds one of these.
    Class folders that are all named by different numbers have these numbers as labels, so that 10 comes after 9; else
    the labels count the names in alphabetical order.

    Raises:
        UsageError: The folder has splits, but not this one.
        DataError: It holds no images, or images both beside and inside class folders, or its table is wrong.
    """
    if (folder / TABLE).is_file():
        only_whole(split, str(folder))
        return _from_table(folder)
    parts = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if divided := [name for name in parts if name.lower() in SPLITS]:
        if split not in divided:
            raise no_such_split(split, divided, str(folder))
        return read_folder(folder / split, "all")
    only_whole(split, str(folder))
    flat = _images_in(folder, deep=False)
    classes = {name: _images_in(folder / name, deep=True) for name in parts}
    if flat and any(classes.values()):
        raise DataError(
            expected=f"images in {folder}, or in one folder for each class, but not both",
            got=f"{len(flat)} images such as {flat[0].name!r} beside folders such as {parts[0]!r}",
            remedy="Move the images into the folders of their classes.",
        )
    if flat:
        return Pictures(tuple(Picture(path, str(path)) for path in flat), name=folder.name)
    if any(classes.values()):
        return _from_classes(classes, folder.name)
    raise DataError(
        expected=f"images ({', '.join(sorted(SUFFIXES))}) in {folder}",
        got=f"{', '.join(map(repr, _some(folder))) or 'an empty folder'}",
        remedy="Name a folder that holds images, or folders of images.",
    )


def _from_classes(classes: dict[str, list[Path]], name: str) -> Pictures:
    """Pictures out of the files of each class."""
    numbers = {part: int(part) for part in classes if _NUMBER.fullmatch(part)}
    numbered = len(set(numbers.values())) == len(classes)
    names = sorted(classes, key=lambda part: (numbers[part] if numbered else 0, part))
    labels = numbers if numbered else {part: i for i, part in enumerate(names)}
    pairs = [(path, labels[part]) for part in names for path in classes[part]]
    return Pictures(
        tuple(Picture(path, str(path)) for path, _ in pairs),
        name=name,
        labels=tuple(label for _, label in pairs),
        class_names=() if numbered else tuple(names),
    )


def _images_in(folder: Path, *, deep: bool) -> list[Path]:
    found, skipped = [], 0
    for where, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if deep and not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                found.append(Path(where, name))
            else:
                skipped += 1
    if skipped:
        _log.info("%d files of %s are no images and were left out", skipped, folder)
    return found


def _some(folder: Path) -> Iterator[str]:
    for number, entry in enumerate(sorted(folder.iterdir())):
        if number == 5:
            yield "..."
            return
        yield entry.name


def _from_table(folder: Path) -> Pictures:
    table = folder / TABLE
    rows = list(_rows(table, "file", "label"))
    if not rows:
        raise DataError(
            expected=f"rows below the heading of {table}", got="none", remedy="Write one row for each image."
        )
    items: list[Picture] = []
    seen: dict[Path, int] = {}
    for number, file, _ in rows:
        path = inside(folder, file)
        if path is None:
            raise _bad_row(table, number, "a file inside the folder", repr(file), "Move the image into the folder.")
        if not is_there(path):
            raise _bad_row(table, number, "a file that is there", repr(file), "Add the file, or remove the row.")
        if path in seen:
            raise _bad_row(
                table,
                number,
                "each file once",
                f"{file!r}, which is in row {seen[path]} too",
                "Remove one of the rows.",
            )
        seen[path] = number
        items.append(Picture(path, f"{path} (row {number} of {TABLE})"))
    labels, names = _labels(table, rows, _class_names(folder / NAMES))
    return Pictures(tuple(items), name=folder.name, labels=labels, class_names=names)


def _rows(table: Path, first: str, second: str) -> Iterator[tuple[int, str, str]]:
    """Row number in the file (the heading is 1), and what stands in two columns of each row."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            heading = reader.fieldnames or []
            if not {first, second} <= set(heading):
                raise DataError(
                    expected=f"the columns {first} and {second} in {table}",
                    got=f"{', '.join(map(repr, heading)) or 'an empty file'}",
                    remedy=f"Write {first},{second} as the first row.",
                )
            for number, row in enumerate(reader, start=2):
                one, other = (row[first] or "").strip(), (row[second] or "").strip()
                if not one or not other:
                    got = f"{one!r} and {other!r}"
                    raise _bad_row(table, number, f"a {first} and a {second}", got, "Complete the row.")
                yield number, one, other
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            expected=f"comma-separated UTF-8 text in {table}",
            got=f"{error!s:.120}",
            remedy="Save the table as UTF-8 CSV.",
        ) from error


def _class_names(table: Path) -> tuple[str, ...]:
    """The names of the classes in the order of their numbers; none where no table says them."""
    if not table.is_file():
        return ()
    names: list[str] = []
    for number, label, name in _rows(table, "label", "name"):
        if label != str(len(names)):
            raise _bad_row(table, number, f"label {len(names)}", repr(label), "Name every class, from 0 up.")
        names.append(name)
    return tuple(names)


def _labels(
    table: Path, rows: list[tuple[int, str, str]], named: tuple[str, ...]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The class of each row, and the names of the classes where the tables have any."""
    numbered = [_NUMBER.fullmatch(label.removeprefix("-")) is not None for _, _, label in rows]
    for (number, _, label), is_number in zip(rows, numbered, strict=True):
        if is_number != numbered[0] or (is_number and label.startswith("-")):
            raise _bad_row(
                table, number, "all labels as numbers from 0 up, or all as names,", repr(label), "Write them alike."
            )
    order = {name: i for i, name in enumerate(named or sorted({label for _, _, label in rows}))}
    places = tuple(int(label) if numbered[0] else order.get(label, len(order)) for _, _, label in rows)
    for (number, _, label), place in zip(rows, places, strict=True):
        if named and place >= len(named):
            expected = f"one of the {len(named)} classes of {NAMES}"
            raise _bad_row(table, number, expected, repr(label), "Add the class there, or correct the label.")
    return places, named if numbered[0] else tuple(order)


def _bad_row(table: Path, number: int, expected: str, got: str, remedy: str) -> DataError:
    return DataError(expected=f"{expected} in row {number} of {table}", got=got, remedy=remedy)
