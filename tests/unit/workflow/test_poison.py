"""A poisoned set that opens everywhere, and the truth about it in a file of its own."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import ImageSet, Rng
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.errors import DataError, OutputError, UsageError
from mantrap.poison import AllToOne, BadNets, Patch, Poison, RandomShare
from mantrap.poison.attacks import FeatureCollision, LabelConsistent
from mantrap.poison.triggers.picture import Picture
from mantrap.workflow.poison import poison
from mantrap.workflow.truths import load_truth, truth_path
from tests import stage

PLAN = Poison(trigger=Patch(size=2), selection=RandomShare(rate=0.1), relabelling=AllToOne(target=3))
PLACES = {"p.npz": "train", "p.parquet": "all", "p": "train"}
COLLISION = FeatureCollision(count=2, steps=2, layer="templates")

every_place = pytest.mark.parametrize("name", PLACES)


def plant(out, *, seed=1, images=None, plan=PLAN, **options):
    return poison(images or stage.image_set(), out, plan=plan, rng=Rng(seed), **options)


def contents(folder):
    """Every file by name, and when it was written."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@every_place
def test_the_place_holds_the_poisoned_set_and_the_truth_lies_beside_it(tmp_path, name):
    out = tmp_path / "deep" / name
    truth = plant(out)
    expected = PLAN.apply(stage.image_set(), rng=Rng(1))
    (backdoor,) = truth.backdoors
    found = load(str(out), split=PLACES[name])

    assert dataclasses.replace(truth, origin={}) == expected.truth
    assert truth == GroundTruth.from_json(truth_path(out).read_text())
    assert len(backdoor.poisoned) == 12
    assert found.digest() == truth.poisoned_digest
    assert torch.equal(found.labels, expected.data.labels)
    assert sorted(p.name for p in out.parent.iterdir()) == [name, "p.truth.json"]


@every_place
def test_nothing_in_the_set_tells_the_truth(tmp_path, name):
    plant(tmp_path / name)
    inside = [p for p in tmp_path.rglob("*") if p.is_file() and p != tmp_path / "p.truth.json"]

    assert not [p for p in inside if "truth" in p.name or b"all_to_one" in p.read_bytes()]


def test_numpy_alone_opens_it(tmp_path):
    images, labels = stage.pixels(12)
    named = ImageSet.from_array(images, labels, class_names=tuple("abcdef"))
    truth = plant(tmp_path / "p.npz", images=named)
    with np.load(tmp_path / "p.npz") as arrays:
        assert sorted(arrays) == ["class_names", "x_train", "y_train"]
        assert (arrays["x_train"].dtype, arrays["x_train"].shape) == (np.uint8, (12, 16, 16, 1))
        assert arrays["class_names"].tolist() == list("abcdef")
        (changed,) = truth.backdoors[0].poisoned
        assert arrays["y_train"][changed] == 3
        others = [i for i in range(12) if i != changed]
        assert np.array_equal(arrays["x_train"][others, ..., 0], images[others, 0].numpy())
        assert arrays["x_train"][changed, 13:15, 13:15].min() == 255


@every_place
def test_the_digest_of_floating_point_images_is_that_of_what_was_written(tmp_path, name):
    pixels = torch.rand(24, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    truth = plant(tmp_path / name, images=ImageSet.from_array(pixels, torch.arange(24) % 4))

    assert load(str(tmp_path / name), split=PLACES[name]).digest() == truth.poisoned_digest


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        plant(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_what_the_attack_learned_lies_beside_the_truth(tmp_path):
    truth = plant(tmp_path / "p", plan=COLLISION, model=stage.model(planted=False))
    read, tensors = load_truth(tmp_path / "p")

    assert read == truth
    assert tensors["0.image"].shape == (1, 16, 16)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p", "p.truth.json", "p.truth.safetensors"]


@every_place
def test_what_is_finished_is_left_alone(tmp_path, name):
    truth = plant(tmp_path / name)
    before = contents(tmp_path)

    assert plant(tmp_path / name) == truth
    assert contents(tmp_path) == before


@every_place
def test_after_a_kill_on_the_way_the_same_call_goes_on(tmp_path, name):
    """The truth is written first; of the set there is a draft, or nothing yet."""
    truth = plant(tmp_path / name)
    (tmp_path / name).rename(tmp_path / f".{name}.0123456789abcdef.part")
    with pytest.raises(OutputError, match="another seed"):
        plant(tmp_path / name, seed=2)

    assert plant(tmp_path / name) == truth
    assert load(str(tmp_path / name), split=PLACES[name]).digest() == truth.poisoned_digest
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, "p.truth.json"]


@every_place
def test_fresh_makes_it_anew(tmp_path, name):
    plant(tmp_path / name)
    truth = plant(tmp_path / name, seed=2, fresh=True)

    assert load(str(tmp_path / name), split=PLACES[name]).digest() == truth.poisoned_digest
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, "p.truth.json"]
    assert plant(tmp_path / name, seed=2) == truth


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 2}, "seed"),
        ({"plan": BadNets()}, "attack"),
        ({"images": stage.image_set(60)}, "images"),
        ({"model": stage.model(planted=False)}, "model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_set_of_another_plan_is_refused(tmp_path, changes, difference):
    plant(tmp_path / "p.npz")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=rf"the work of another {difference}\. .*--fresh"):
        plant(tmp_path / "p.npz", **changes)

    assert contents(tmp_path) == before


@every_place
@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_not_ours_is_never_touched(tmp_path, name, fresh):
    plant(tmp_path / name)
    truth_path(tmp_path / name).unlink()
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="does not say how it came about"):
        plant(tmp_path / name, fresh=fresh)

    assert contents(tmp_path) == before


def test_a_folder_to_which_somebody_has_added_something_is_not_thrown_away(tmp_path):
    plant(tmp_path / "p")
    (tmp_path / "p" / "thesis.tex").write_text("years")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"one that holds thesis\.tex"):
        plant(tmp_path / "p", seed=2, fresh=True)

    assert contents(tmp_path) == before


def test_one_truth_serves_the_same_set_in_every_form(tmp_path):
    truths = [plant(tmp_path / name) for name in PLACES]

    assert truths[0] == truths[1] == truths[2]
    assert len({load(str(tmp_path / name), split=split).digest() for name, split in PLACES.items()}) == 1
    with pytest.raises(OutputError, match="another seed"):
        plant(tmp_path / "p.npz", seed=2)


def full(*_, **__):
    raise OSError(28, "No space left")


@every_place
@pytest.mark.parametrize("broken", ["mantrap.data.saving._rows", "mantrap.workflow.poison.save_truth"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, name, broken, earlier):
    if earlier:
        plant(tmp_path / name)
    before = contents(tmp_path)
    if "truth" in broken:  # what was there has made room by then
        before = {path: content for path, content in before.items() if path.name == "p.truth.json"}
    monkeypatch.setattr(broken, full)
    with pytest.raises(OutputError, match="No space left"):
        plant(tmp_path / name, seed=2, fresh=True)

    assert contents(tmp_path) == before


def test_a_set_may_take_the_place_of_the_one_that_it_is_made_from(tmp_path, monkeypatch):
    monkeypatch.setattr("mantrap.data.pixels.IN_MEMORY", 0)  # decoded as it is read
    plant(tmp_path / "p")
    first = load(str(tmp_path / "p"), split="train")
    expected = PLAN.apply(first, rng=Rng(2)).data.digest()
    again = load(str(tmp_path / "p"), split="train")

    assert plant(tmp_path / "p", images=again, seed=2, fresh=True).poisoned_digest == expected
    assert load(str(tmp_path / "p"), split="train").digest() == expected


@pytest.mark.parametrize(
    ("kind", "message", "options"),
    [
        (UsageError, r"ends in \.npz", {"name": "p.zip"}),
        (DataError, "labelled images", {"images": stage.image_set(labelled=False)}),
        (UsageError, "a patch that fits", {"plan": BadNets(trigger="patch(size=17)")}),
        (UsageError, "a model for", {"plan": LabelConsistent()}),
        (UsageError, r"got rewire, which .*\. Use mantrap implant\.", {"plan": stage.Rewire()}),
        (OutputError, "to write", {"name": "file/p.npz"}),
        (OutputError, "to write", {"name": "file/p"}),
    ],
    ids=["suffix", "labels", "trigger", "model", "attack", "place", "folder's place"],
)
def test_what_is_refused_writes_nothing(tmp_path, kind, message, options):
    (tmp_path / "file").touch()
    with pytest.raises(kind, match=message):
        plant(tmp_path / options.pop("name", "p.npz"), **options)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_another_picture_under_the_same_name_is_other_work(tmp_path):
    name = tmp_path / "a.png"
    plan = dataclasses.replace(PLAN, trigger=Picture(file=str(name), size=3))
    for colour in ("red", "blue"):
        Image.new("RGB", (4, 4), colour).save(name)
        if colour == "red":
            plant(tmp_path / "p.npz", plan=plan)

    with pytest.raises(OutputError, match="got the work of another files"):
        plant(tmp_path / "p.npz", plan=plan)
