"""The German Traffic Sign Recognition Benchmark, cropped to the sign."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mantrap.core import ImageSet
from mantrap.data.choice import ChosenClasses
from mantrap.data.npz import Arrays, as_labels
from mantrap.data.pictures import Picture, Pictures
from mantrap.data.places import find
from mantrap.errors import DataError

_SIZE = (32, 32)
_TRAIN = ("GTSRB/Final_Training/Images", "GTSRB/Training")
_TABLE = "GT-final_test.csv"
_TEST = tuple(f"{place}{_TABLE}" for place in ("GTSRB/Final_Test/Images/", "GTSRB/Final_Test/", "GTSRB/", ""))
_BOX = ("Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2")


@dataclass(frozen=True, kw_only=True)
class Gtsrb(ChosenClasses):
    """GTSRB: German traffic signs in 43 classes, cropped to the sign and brought to 32x32 colour.

    Training images come from video tracks of one sign each. The groups of the training set are these tracks, so that
    :func:`mantrap.data.split` never tears one apart: neighbouring frames look alike, and a split by frame would measure
    memory (Stallkamp et al., 2012).
    """

    name: ClassVar[str] = "gtsrb"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    def _read(self, split: str) -> ImageSet:
        """``train`` or ``test``, from ``gtsrb_roi_small.npz`` or the owners' PPM files with their tables."""
        layouts = ("gtsrb_roi_small.npz", *(_TRAIN if split == "train" else _TEST))
        path = find(
            self.name,
            layouts,
            "https://benchmark.ini.rub.de (GTSRB final training and test images, with the test's classes)",
        )
        if path.suffix == ".npz":
            return self._from_arrays(Arrays(path), split)
        rows = list(self._training(path) if split == "train" else self._testing(path))
        pictures = Pictures(
            tuple(picture for picture, _, _ in rows),
            self.name,
            tuple(label for _, label, _ in rows),
            groups=tuple(track for _, _, track in rows) if split == "train" else None,
        )
        return pictures.open(resize=_SIZE, channels=3)

    def _from_arrays(self, arrays: Arrays, split: str) -> ImageSet:
        labels = as_labels(arrays.read(f"y_{split}"), f"y_{split} of {arrays.path}")
        groups = None
        if split == "train":
            tracks = as_labels(arrays.read("track_train"), f"track_train of {arrays.path}")
            groups = [_track(label, track) for label, track in zip(labels.tolist(), tracks.tolist(), strict=False)]
        names = tuple(map(str, arrays.read("class_names")))
        return ImageSet.from_array(arrays.read(f"x_{split}"), labels, class_names=names, name=self.name, groups=groups)

    def _training(self, folder: Path) -> Iterator[tuple[Picture, int, str]]:
        tables = sorted(folder.glob("*/GT-*.csv"))
        if not tables:
            raise DataError(
                expected=f"tables such as 00000/GT-00000.csv in {folder}",
                got="none",
                remedy="Unpack the archive again.",
            )
        for table in tables:
            for picture, label in _rows(table, table.parent):
                track = Path(picture.where).stem.partition("_")[0]
                yield picture, label, _track(label, int(track) if track.isdecimal() else 0)

    def _testing(self, table: Path) -> Iterator[tuple[Picture, int, str]]:
        parent = table.parent
        below = ("Images", "Final_Test/Images", "GTSRB/Final_Test/Images")
        homes = (parent, *(parent / path for path in below))
        home = next((folder for folder in homes if any(folder.glob("*.ppm"))), parent)
        for picture, label in _rows(table, home):
            yield picture, label, ""


def _track(label: int, track: int) -> str:
    return f"{label:05d}/{track:05d}"


def _rows(table: Path, home: Path) -> Iterator[tuple[Picture, int]]:
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as text:
        for number, row in enumerate(csv.DictReader(text, delimiter=";"), start=2):
            try:
                left, top, right, bottom = (int(row[column]) for column in _BOX)
                name, label = row["Filename"], int(row["ClassId"])
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    expected=f"Filename, {', '.join(_BOX)} and ClassId in row {number} of {table}",
                    got=f"{error!r:.120}",
                    remedy="Use the table that has the classes (GT-final_test.csv for the test images).",
                ) from error
            path = home / name
            if Path(name).name != name or not path.is_file():
                raise DataError(
                    expected=f"the image of row {number} of {table} in {home}",
                    got=repr(name),
                    remedy="Unpack the images beside their table.",
                )
            yield Picture(path, str(path), (left, top, right, bottom)), label
