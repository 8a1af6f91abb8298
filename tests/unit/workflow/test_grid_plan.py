"""A grid is read as a whole, or refused with one clear error before anything runs."""

import numpy as np
import pytest

from mantrap.core import ImageSet, Rng
from mantrap.data import load
from mantrap.data.splits import sample
from mantrap.errors import DataError, MantrapError, MissingDataError, SpecError, UsageError
from mantrap.records import DefenceKind
from mantrap.workflow import grid_images
from mantrap.workflow.benchmark import Benchmarking, benchmark
from mantrap.workflow.grid_images import check_plan, drawn
from mantrap.workflow.grid_plan import AUDIT, detectors_of, plan_of, read_grid
from mantrap.workflow.zoo_plan import RETRAINING
from tests import gridding

FIRST = Rng(0)
SMALLEST = {"data": ["mnist"], "models": ["mlp"], "attacks": ["badnets"], "detectors": ["audit"]}
TOML = """
data = ["signs(classes=4, size=16)"]
models = ["mlp( hidden = (8,) )"]
attacks = ["badnets(target=1)", "blended()"]
repairs = ["fine_tuning"]
seeds = [3, 1]
[training]
images = 90
[defender]
fpr = 0.1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return gridding.write_images(tmp_path_factory.mktemp("grid"))


@pytest.fixture(autouse=True)
def names():
    with gridding.registered():
        yield


def test_a_file_says_all_and_specs_come_in_full(tmp_path):
    (tmp_path / "grid.toml").write_text(TOML)
    plan = read_grid(tmp_path / "grid.toml")

    assert plan.data == ("signs(classes=4, size=16)",)
    assert plan.models == ("mlp(hidden=(8,))",)
    assert plan.attacks == ("badnets(target=1)", "blended")
    assert (plan.seeds, plan.training_images, plan.fpr) == ((3, 1), 90, 0.1)
    assert plan.defences() == ((DefenceKind.REPAIR, "fine_tuning"),)


def test_what_is_left_out_is_as_usual():
    plan = plan_of(SMALLEST)

    assert (plan.seeds, plan.recipe, plan.retraining) == ((0,), "recipe", RETRAINING["trojan"])
    assert (plan.training_images, plan.defender_images, plan.test_images) == (None, 500, 1000)
    assert (plan.triggers, plan.fpr) == ("neural_cleanse", 0.05)


def test_audit_stands_for_the_usual_detectors():
    assert [d.name for d in detectors_of(AUDIT)][:2] == ["neural_cleanse", "universal_perturbation"]
    assert [d.name for d in detectors_of("mm_bd")] == ["mm_bd"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attakcs": []}, "got 'attakcs'. Did you mean attacks?"),
        ({"training": {"imags": 3}}, "the keys images, recipe, retraining in [training], got 'imags'. Did you mean"),
        ({"training": 3}, "expected a table [training], got 3"),
        ({"attacks": None}, "expected attacks, a list of specs in quotes, got no such key"),
        ({"data": []}, "a list of specs in quotes, one at least for data, got []"),
        ({"data": "mnist"}, "for data, got 'mnist'"),
        ({"models": [3]}, "for models, got [3]"),
        ({"attacks": ["no_such"]}, "expected an attack out of badnets"),
        ({"attacks": ["badnets(no=1)"]}, "got 'no'"),
        ({"detectors": ["strip"]}, "expected a detector out of"),
        ({"guards": ["scan"]}, "expected a guard out of"),
        ({"repairs": ["auto(("]}, "it does not parse"),
        ({"screens": ["auto"]}, "expected a screen out of"),
        ({"models": ["mlp", "mlp()"]}, "each of models once, got mlp twice"),
        ({"seeds": [1, 1]}, "each of seeds once, got 1 twice"),
        ({"seeds": []}, "for seeds, got []"),
        ({"seeds": [-1]}, "for seeds, got [-1]"),
        ({"seeds": [True]}, "for seeds, got [True]"),
        ({"training": {"recipe": "recipe(epochs=0)"}}, "expected epochs of at least 1"),
        ({"training": {"images": 0}}, "a whole number of 1 or more for training.images, got 0"),
        ({"training": {"images": True}}, "for training.images, got True"),
        ({"test": {"images": 1.5}}, "for test.images, got 1.5"),
        ({"defender": {"fpr": 1}}, "a share between 0 and 1, such as 0.05 for defender.fpr, got 1"),
        ({"defender": {"fpr": 1.5}}, "for defender.fpr, got 1.5"),
        ({"defender": {"triggers": ["mm_bd"]}}, "for defender.triggers, got ['mm_bd']"),
        ({"detectors": []}, "expected a defence at least"),
        ({"attacks": [], "detectors": [], "repairs": ["idle"]}, "expected an attack at least"),
    ],
)
def test_a_mistake_is_one_clear_error(changes, message):
    given = {name: value for name, value in (SMALLEST | changes).items() if value is not None}
    with pytest.raises(UsageError) as error:
        plan_of(given)

    assert str(error.value).startswith("expected ")
    assert message in str(error.value)


def test_what_is_no_grid_is_refused(tmp_path):
    (tmp_path / "broken.toml").write_text("data = [")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")

    for name, kind, message in (
        ("none.toml", MissingDataError, "got nothing"),
        ("broken.toml", UsageError, "expected TOML in"),
        ("bytes.toml", UsageError, "expected a grid in"),
        (".", UsageError, "expected a grid in"),
    ):
        with pytest.raises(kind, match=message):
            read_grid(tmp_path / name)


def test_the_sets_of_a_plan_are_as_large_as_it_says_and_share_no_image(data):
    images = drawn(gridding.plan(data), str(data), 0)

    assert (len(images.training), len(images.defender), len(images.test)) == (120, 80, 60)
    assert set(images.defender.content_hashes).isdisjoint(images.test.content_hashes)
    assert images.training.digest() != drawn(gridding.plan(data), str(data), 1).training.digest()
    assert images.test.digest() != drawn(gridding.plan(data), str(data), 1).test.digest()


def test_what_the_defender_has_does_not_depend_on_what_is_measured_on(data):
    few = drawn(gridding.plan(data, test={"images": 20}), str(data), 0)
    many = drawn(gridding.plan(data), str(data), 0)

    assert few.defender.digest() == many.defender.digest()
    assert (len(few.test), len(many.test)) == (20, 60)


def test_no_group_is_on_both_sides(data, monkeypatch):
    whole = load(str(data), split="test")
    tracks = [f"track {i // 2}" for i in range(len(whole))]
    grouped = ImageSet(whole.source, whole.labels, groups=tracks, name="tracks")

    def drawing(*_, limit=240, rng=FIRST, **__):
        return grouped.subset(sample(grouped.labels.tolist(), 240, limit, rng=rng))

    monkeypatch.setattr(grid_images, "load", drawing)
    images = grid_images.images_of.__wrapped__("tracks", 0, 100, 40, 60)

    assert set(images.defender.groups).isdisjoint(images.test.groups)
    assert len(images.test) == 60


def test_every_data_set_and_seed_has_its_digests(data):
    digests = check_plan(gridding.plan(data, seeds=[0, 5]))

    assert list(digests) == [(str(data), 0), (str(data), 5)]
    assert digests[str(data), 5]["test"] == drawn(gridding.plan(data), str(data), 5).test.digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ["no/such.npz"]}, "which is not there"),
        ({"attacks": ["badnets(target=6)"]}, "expected attacks that fit"),
        ({"attacks": ["trojan(target=6)"]}, "expected a target from 0 to 5, got 6"),
        ({"attacks": ["badnets(goal='source_specific', target=1, sources=(9,))"]}, "expected attacks that fit"),
        ({"attacks": ["badnets(target=1, rate=0.0001)"]}, "expected attacks that fit"),
        ({"attacks": ["badnets(target=1, trigger='patch(size=99)')"]}, "expected attacks that fit"),
        ({"models": ["mlp(height=3)"]}, "expected models that fit"),
        ({"training": {"images": 241}}, "expected 241 images in the train split"),
        ({"defender": {"images": 241}}, "expected 241 images in the test split, of"),
        ({"defender": {"images": 240}}, "expected 60 images in the test split beside those of the defender"),
    ],
)
def test_what_does_not_fit_the_images_is_one_clear_error_and_leaves_nothing(data, tmp_path, changes, message):
    plan = gridding.plan(data, **changes)
    with pytest.raises(MantrapError) as error:
        benchmark(Benchmarking(plan=plan), tmp_path / "out")

    assert str(error.value).startswith("expected ")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_set_without_labels_or_parts_is_refused(tmp_path):
    images = np.zeros((40, 8, 8), np.uint8)
    np.savez(tmp_path / "bare.npz", x_train=images, x_test=images)
    np.savez(tmp_path / "whole.npz", x=images, y=np.arange(40) % 4)

    with pytest.raises(DataError, match="expected labels for"):
        check_plan(gridding.plan(tmp_path / "bare.npz"))
    with pytest.raises(UsageError, match="which is not divided"):
        check_plan(gridding.plan(tmp_path / "whole.npz"))


def test_a_spec_of_nothing_is_a_spec_error():
    with pytest.raises(SpecError):
        plan_of(SMALLEST | {"attacks": ["("]})


def test_the_grid_of_the_documentation_is_the_example(root, tmp_path):
    text = (root / "docs" / "benchmark.md").read_text().partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "shown.toml").write_text(text)

    assert read_grid(tmp_path / "shown.toml") == read_grid(root / "examples" / "benchmark.toml")
