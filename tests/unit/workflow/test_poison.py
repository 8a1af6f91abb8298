"""A poisoned set as a file that opens everywhere, and the truth about it in a file of its own."""

import numpy as np
import pytest

from mantrap.core import Rng
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.errors import DataError, OutputError, UsageError
from mantrap.poison import AllToOne, Patch, Poison, RandomShare
from mantrap.workflow.poison import poison
from mantrap.workflow.truths import truth_path
from tests import stage

PLAN = Poison(trigger=Patch(size=2), selection=RandomShare(rate=0.1), relabelling=AllToOne(target=3))


def test_the_file_holds_the_poisoned_set_and_the_truth_lies_beside_it(tmp_path):
    out, images = tmp_path / "deep" / "p.npz", stage.image_set()
    truth = poison(images, out, plan=PLAN, rng=Rng(1))
    expected = PLAN.apply(images, rng=Rng(1))
    assert truth == expected.truth == GroundTruth.from_json(truth_path(out).read_text())
    assert len(truth.poisoned) == 12
    found = load(str(out), split="train")
    assert found.digest() == truth.poisoned_digest
    assert sorted(p.name for p in out.parent.iterdir()) == ["p.npz", "p.truth.json"]


def test_numpy_alone_opens_it(tmp_path):
    images, labels = stage.pixels(12)
    named = stage.ImageSet.from_array(images, labels, class_names=tuple("abcdef"))
    truth = poison(named, tmp_path / "p.npz", plan=PLAN, rng=Rng(0))
    with np.load(tmp_path / "p.npz") as arrays:
        assert sorted(arrays) == ["class_names", "x_train", "y_train"]
        assert (arrays["x_train"].dtype, arrays["x_train"].shape) == (np.uint8, (12, 16, 16, 1))
        assert arrays["class_names"].tolist() == list("abcdef")
        (changed,) = truth.poisoned
        assert arrays["y_train"][changed] == 3
        others = [i for i in range(12) if i != changed]
        assert np.array_equal(arrays["x_train"][others, ..., 0], images[others, 0].numpy())
        assert arrays["x_train"][changed, 13:15, 13:15].min() == 255


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        poison(stage.image_set(), tmp_path / name, plan=PLAN, rng=Rng(1))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (UsageError, {"name": "p.zip"}),
        (DataError, {"images": stage.image_set(labelled=False)}),
        (UsageError, {"plan": Poison(trigger=Patch(size=17), selection=RandomShare(), relabelling=AllToOne())}),
        (OutputError, {"name": "file/p.npz"}),
    ],
    ids=["suffix", "labels", "trigger", "place"],
)
def test_what_is_refused_writes_nothing(tmp_path, kind, options):
    (tmp_path / "file").touch()
    with pytest.raises(kind):
        poison(
            options.get("images", stage.image_set()),
            tmp_path / options.get("name", "p.npz"),
            plan=options.get("plan", PLAN),
            rng=Rng(0),
        )
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
