"""What is written is read back, bitwise, in the same order and with the same names."""

import importlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import ImageSet
from mantrap.core.sources import ArraySource
from mantrap.data import load, save
from mantrap.data.saving import in_bytes, take_away
from mantrap.errors import DataError, MissingExtraError, OutputError, UsageError

NAMES = ("stop", "T-shirt/top", 'a, "quoted"', "Ä", "zebra", "ape", "never seen")
PLACES = {"set.npz": "train", "set.parquet": "all", "set": "train"}

every_place = pytest.mark.parametrize("name", PLACES)


def images(count=23, channels=3, names=NAMES):
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, channels, 7, 5), generator=generator, dtype=torch.uint8)
    return ImageSet.from_array(pixels, torch.arange(count) * 5 % 6, class_names=names, name="noise")


@every_place
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("names", [(), NAMES], ids=["numbers", "names"])
def test_what_is_read_back_is_what_was_written(tmp_path, name, channels, names):
    written = images(channels=channels, names=names)
    save(written, tmp_path / "deep" / name)
    found = load(str(tmp_path / "deep" / name), split=PLACES[name])

    assert found.shape == written.shape
    assert found.digest() == written.digest()
    assert torch.equal(found.labels, written.labels)
    assert found.class_names == names
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [name]


@every_place
def test_more_images_than_are_written_at_once(tmp_path, name):
    written = images(count=300, channels=1)
    save(written, tmp_path / name)

    assert load(str(tmp_path / name), split=PLACES[name]).digest() == written.digest()


@every_place
def test_a_large_set_is_never_read_whole(tmp_path, name):
    written, most = images(count=600, channels=1), []

    class Watched(ArraySource):
        def read(self, index):
            most.append(len(index))
            return super().read(index)

    save(written.over(Watched(written.source.pixels)), tmp_path / name)

    assert max(most) <= 256
    assert sum(most) >= 600


@every_place
def test_floating_point_pixels_are_rounded_to_8_bits(tmp_path, name):
    pixels = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0]).view(1, 1, 2, 2)
    save(ImageSet.from_array(pixels, [0]), tmp_path / name)
    found = load(str(tmp_path / name), split=PLACES[name])

    assert found.source.read([0]).flatten().tolist() == [0, 0, 1, 255]
    assert found.digest() == in_bytes(ImageSet.from_array(pixels, [0])).digest()


def test_pixels_of_8_bits_are_left_as_they_are():
    written = images()
    assert in_bytes(written) is written


def test_the_folder_is_one_that_others_read(tmp_path):
    """Class folders in the order of their numbers, as torchvision's and Keras's readers sort them."""
    labels = [10, 2, 2, 0]
    save(ImageSet.from_array(np.zeros((4, 3, 3, 3), np.uint8), labels), tmp_path / "set")

    assert sorted(path.name for path in (tmp_path / "set" / "train").iterdir()) == ["00", "02", "10", "labels.csv"]
    assert (
        tmp_path / "set/train/labels.csv"
    ).read_text() == "file,label\n10/0.png,10\n02/1.png,2\n02/2.png,2\n00/3.png,0\n"
    with Image.open(tmp_path / "set" / "train" / "10" / "0.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (3, 3))


def test_the_table_is_described_as_the_hub_has_it(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    save(images(), tmp_path / "set.parquet")
    table = parquet.read_table(tmp_path / "set.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]

    assert table.column_names == ["image", "label"]
    assert features == {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}}
    assert table.column("image")[3].as_py().keys() == {"bytes", "path"}
    assert table.column("image")[3].as_py()["path"] == "03.png"


@every_place
def test_the_same_set_gives_the_same_bytes(tmp_path, name):
    contents = []
    for folder in ("a", "b"):
        save(images(), tmp_path / folder / name)
        files = sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())
        contents.append([(path.relative_to(tmp_path / folder), path.read_bytes()) for path in files])

    assert contents[0] == contents[1]


class Broken(ArraySource):
    def read(self, index):
        if min(index) > 0:
            raise DataError(expected="a whole image", got="half of one", remedy="Replace it.")
        return super().read(index)


@every_place
def test_a_failure_on_the_way_leaves_nothing(tmp_path, name):
    written = images(count=300, channels=1)
    with pytest.raises(DataError, match="half of one"):
        save(written.over(Broken(written.source.pixels)), tmp_path / name)

    assert list(tmp_path.iterdir()) == []


@every_place
def test_a_place_that_cannot_be_written(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"to write .*Choose a place that is writable"):
        save(images(), tmp_path / "file" / name)

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@every_place
def test_what_a_kill_left_of_an_earlier_try_goes_away(tmp_path, name):
    (tmp_path / f".{name}.0123456789abcdef.part").mkdir()
    save(images(), tmp_path / name)

    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "written", "error", "message"),
    [
        ("set.zip", images(), UsageError, r"ends in \.npz or \.parquet, or one without a suffix"),
        ("set", images().unlabelled(), DataError, "labelled images with 1 or 3 channels in noise, got unlabelled"),
        ("set", images(channels=4), DataError, "got labelled ones with 4"),
    ],
    ids=["suffix", "labels", "channels"],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, written, error, message):
    with pytest.raises(error, match=message):
        save(written, tmp_path / name)

    assert list(tmp_path.iterdir()) == []


def test_the_missing_extra_names_itself(tmp_path, monkeypatch):
    def refuse(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'mantrap\[parquet\]'"):
        save(images(), tmp_path / "set.parquet")
    assert list(tmp_path.iterdir()) == []


@every_place
def test_a_set_that_was_written_here_can_be_taken_away(tmp_path, name):
    save(images(), tmp_path / name)
    take_away(tmp_path / name)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("strange", ["thesis.tex", "train/notes.txt", "train/0/me.jpg", "test/0/1.png"])
def test_a_folder_with_anything_else_in_it_is_not_taken_away(tmp_path, strange):
    save(images(), tmp_path / "set")
    path = tmp_path / "set" / strange
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("years")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=f"one that holds {strange.split('/')[0]}"):
        take_away(tmp_path / "set")

    assert sorted(tmp_path.rglob("*")) == before
