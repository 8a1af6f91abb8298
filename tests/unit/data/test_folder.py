from pathlib import Path

import pytest

from mantrap.data import load
from mantrap.errors import DataError, UsageError


def labels_csv(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_for_each_class(tmp_path: Path, paint):
    for name in ("dog/b.png", "cat/a.png", "cat/deep/c.PNG"):
        paint(tmp_path / name)
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    images = load(str(tmp_path))
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [0, 0, 1]
    assert images.shape == (3, 6, 5)


def test_class_folders_named_by_numbers_are_these_numbers(tmp_path: Path, paint):
    for name in ("10/a.png", "2/b.png", "0007/c.png"):
        paint(tmp_path / name)
    images = load(str(tmp_path))
    assert images.labels.tolist() == [2, 7, 10]
    assert images.class_names == ()


def test_two_folders_of_one_number_are_two_names(tmp_path: Path, paint):
    for name in ("1/a.png", "01/b.png"):
        paint(tmp_path / name)
    assert load(str(tmp_path)).class_names == ("01", "1")


def test_a_flat_folder_has_no_labels(tmp_path: Path, paint):
    paint(tmp_path / "a.png")
    paint(tmp_path / "b.jpg")
    images = load(str(tmp_path))
    assert (len(images), images.labels) == (2, None)


def test_one_file_is_a_set_of_one(tmp_path: Path, paint):
    assert len(load(str(paint(tmp_path / "a.png")))) == 1


def test_splits_are_folders(tmp_path: Path, paint):
    for name in ("train/x/a.png", "train/y/b.png", "test/x/c.png"):
        paint(tmp_path / name)
    assert len(load(str(tmp_path), split="train")) == 2
    assert len(load(str(tmp_path))) == 1
    with pytest.raises(UsageError, match=r"a split out of test, train of .*, got 'val'"):
        load(str(tmp_path), split="val")


def test_an_undivided_folder_is_never_called_its_training_part(tmp_path: Path, paint):
    paint(tmp_path / "a.png")
    assert load(str(tmp_path), split="all").digest() == load(str(tmp_path), split="test").digest()
    with pytest.raises(UsageError, match=r"not divided, got 'train'"):
        load(str(tmp_path), split="train")


def test_an_empty_folder(tmp_path: Path):
    with pytest.raises(DataError, match="an empty folder"):
        load(str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"images \(.*\) in .*, got 'notes.txt'"):
        load(str(tmp_path))


def test_images_beside_class_folders_are_ambiguous(tmp_path: Path, paint):
    paint(tmp_path / "a.png")
    paint(tmp_path / "cat" / "b.png")
    with pytest.raises(DataError, match=r"but not both, got 1 images such as 'a.png' beside folders such as 'cat'"):
        load(str(tmp_path))


def test_a_table_of_numbers(tmp_path: Path, paint):
    paint(tmp_path / "in" / "a.png")
    paint(tmp_path / "b.png")
    paint(tmp_path / "unlisted.png")
    images = load(str(labels_csv(tmp_path, "\ufefffile,extra,label\nin/a.png,?,7\nb.png,?, 2\n")))
    assert images.labels.tolist() == [7, 2]
    assert images.class_names == ()


def test_a_table_of_names(tmp_path: Path, paint):
    paint(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    images = load(str(labels_csv(tmp_path, "label,file\nstop,a.png\n7up,b.png\n")))
    assert images.labels.tolist() == [1, 0]
    assert images.class_names == ("7up", "stop")


def test_a_table_names_the_classes_in_the_order_of_their_numbers(tmp_path: Path, paint):
    paint(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    (tmp_path / "classes.csv").write_text("label,name\n0,stop\n1,go\n2,wait\n", encoding="utf-8")
    for text in ("file,label\na.png,2\nb.png,1\n", "file,label\na.png,wait\nb.png,go\n"):
        images = load(str(labels_csv(tmp_path, text)))
        assert images.labels.tolist() == [2, 1]
        assert images.class_names == ("stop", "go", "wait")


@pytest.mark.parametrize(
    ("classes", "label", "message"),
    [
        ("label,name\n0,stop\n", "1", r"one of the 1 classes of classes.csv in row 2 of .*labels.csv, got '1'"),
        ("label,name\n0,stop\n", "go", r"one of the 1 classes of classes.csv in row 2 of .*labels.csv, got 'go'"),
        ("label,name\n1,go\n0,stop\n", "1", r"label 0 in row 2 of .*classes.csv, got '1'"),
        ("label,name\n0,stop\n0,go\n", "0", r"label 1 in row 3 of .*classes.csv, got '0'"),
        ("label,name\n0,\n", "0", r"a label and a name in row 2 of .*classes.csv, got '0' and ''"),
        ("0,stop\n", "0", r"the columns label and name in .*classes.csv, got '0', 'stop'"),
    ],
)
def test_a_wrong_table_of_classes_names_the_row(tmp_path: Path, paint, classes, label, message):
    paint(tmp_path / "a.png")
    (tmp_path / "classes.csv").write_text(classes, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load(str(labels_csv(tmp_path, f"file,label\na.png,{label}\n")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,0\ngone.png,1\n", r"a file that is there in row 3 of .*labels.csv, got 'gone.png'"),
        ("file,label\n../out.png,0\n", r"a file inside the folder in row 2 .*, got '../out.png'"),
        ("file,label\n/etc/passwd,0\n", r"a file inside the folder in row 2 .*, got '/etc/passwd'"),
        ("file,label\na\0.png,0\n", r"a file inside the folder in row 2"),
        (f"file,label\n{'x' * 300}.png,0\n", r"a file that is there in row 2"),
        ("file,label\na.png,0\na.png,1\n", r"each file once in row 3 .* which is in row 2 too"),
        ("file,label\na.png\n", r"a file and a label in row 2 .*, got 'a.png' and ''"),
        ("file,label\na.png,0\nb.png,cat\n", r"all labels as numbers .* in row 3 .*, got 'cat'"),
        ("file,label\na.png,cat\nb.png,1\n", r"all labels as numbers .* in row 3 .*, got '1'"),
        ("file,label\na.png,-1\n", r"numbers from 0 up, .* in row 2 .*, got '-1'"),
        ("name;class\na.png;0\n", r"the columns file and label in .*, got 'name;class'"),
        ("file,label\n", r"rows below the heading"),
        ("", r"the columns file and label in .*, got 'an empty file'|got an empty file"),
    ],
)
def test_a_wrong_table_names_the_row(tmp_path: Path, paint, text, message):
    paint(tmp_path / "out.png")
    paint(tmp_path / "set" / "a.png")
    paint(tmp_path / "set" / "b.png")
    with pytest.raises(DataError, match=message):
        load(str(labels_csv(tmp_path / "set", text)))


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, paint):
    outside = paint(tmp_path / "out.png")
    folder = labels_csv(tmp_path / "set", "file,label\nlink.png,0\n")
    (folder / "link.png").symlink_to(outside)
    with pytest.raises(DataError, match="a file inside the folder in row 2"):
        load(str(folder))


def test_a_table_that_is_no_text(tmp_path: Path):
    (tmp_path / "labels.csv").write_bytes(b"file,label\n\xff\xfe\xfa,0\n")
    with pytest.raises(DataError, match="UTF-8 text"):
        load(str(tmp_path))


def test_mixed_sizes_name_the_flag(tmp_path: Path, paint):
    paint(tmp_path / "a.png", (6, 5))
    paint(tmp_path / "b.png", (8, 9))
    with pytest.raises(UsageError, match=r"2 sizes, such as 6x5 .*a.png.* and 8x9 .*b.png.*--resize HxW"):
        load(str(tmp_path))
    assert load(str(tmp_path), resize=(4, 3)).shape == (3, 4, 3)


def test_one_colour_image_makes_the_set_colour(tmp_path: Path, paint):
    paint(tmp_path / "a.png", colour=9, mode="L")
    assert load(str(tmp_path)).shape[0] == 1
    paint(tmp_path / "b.png", colour=(1, 2, 3))
    images = load(str(tmp_path))
    assert images.shape[0] == 3
    assert (images.images([0]) * 255).unique().tolist() == [9.0]
    assert load(str(tmp_path), channels=1).shape[0] == 1


def test_an_unreadable_image_is_named_before_any_work(tmp_path: Path, paint):
    paint(tmp_path / "good.png")
    whole = paint(tmp_path / "cut.png", (30, 30)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.png"):
        load(str(tmp_path), resize=(6, 5))
    (tmp_path / "cut.png").write_bytes(b"no image at all")
    with pytest.raises(DataError, match=r"cut\.png"):
        load(str(tmp_path))
