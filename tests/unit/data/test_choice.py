"""Some classes of a set, numbered anew."""

import numpy as np
import pytest
import torch

from mantrap.core import ImageSet
from mantrap.data import NAMED, load
from mantrap.data.choice import only_classes
from mantrap.errors import DataError, SpecError, UsageError

SET = ImageSet.from_array(
    torch.arange(6).view(6, 1, 1, 1) / 10, [0, 1, 2, 2, 0, 3], class_names=tuple("abcd"), groups=tuple("uvwxyz")
)


def test_images_keep_their_order_and_groups_and_classes_get_new_numbers_and_their_names():
    chosen = only_classes(SET, [2, 0])

    assert chosen.labels.tolist() == [1, 0, 0, 1]
    assert chosen.class_names == ("c", "a")
    assert chosen.groups == ("u", "w", "x", "y")
    assert torch.equal(chosen.images(), SET.images([0, 2, 3, 4]))
    assert SET.labels.tolist() == [0, 1, 2, 2, 0, 3]


def test_a_set_without_names_stays_without():
    assert only_classes(ImageSet(SET.source, SET.labels), [3, 1]).class_names == ()


@pytest.mark.parametrize(
    ("images", "classes", "kind", "got"),
    [(SET, [0, 4], UsageError, r"from 0 to 3, got \[4\]"), (SET.unlabelled(), [0, 1], DataError, "got none")],
    ids=["class", "labels"],
)
def test_what_is_not_there_is_refused(images, classes, kind, got):
    with pytest.raises(kind, match=got):
        only_classes(images, classes)


@pytest.mark.parametrize("name", [kind.name for kind in NAMED if kind.name != "signs"])
@pytest.mark.parametrize("classes", ["(1,)", "(1, 1)", "(-1, 2)"])
def test_a_choice_that_makes_no_sense_is_refused(name, classes):
    with pytest.raises(SpecError, match=rf"{name}\.classes"):
        NAMED.create(f"{name}(classes={classes})")


def test_a_named_set_takes_it_in_its_spec(tmp_path, monkeypatch):
    labels = np.arange(10, dtype=np.uint8).repeat(2)
    pixels = np.broadcast_to(labels[:, None, None], (20, 28, 28))
    np.savez(tmp_path / "mnist.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    monkeypatch.setenv("MANTRAP_DATA", str(tmp_path))
    found = load("mnist(classes=(7, 2))", split="train")

    assert found.class_names == ("7", "2")
    assert found.labels.tolist() == [1, 1, 0, 0]
    assert (found.images()[:, 0, 0, 0] * 255).tolist() == pytest.approx([2, 2, 7, 7])
