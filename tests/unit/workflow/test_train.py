"""Train and save: sizes come from the images, the card tells the story, an unfinished training goes on."""

import pytest

from mantrap.core import Rng
from mantrap.data import load
from mantrap.data.only import only
from mantrap.errors import DataError, OutputError, SpecError, UsageError
from mantrap.evade.hardening import FgsmTraining, Noise
from mantrap.models import Preprocessing, open_model, save_model
from mantrap.ops.scores import accuracy
from mantrap.records import ModelCard
from mantrap.repair import Isolation
from mantrap.training import Recipe
from mantrap.workflow.train import SafeRecipe, checkpoint_path, kept_path, new_classifier, start_over, train
from tests import stage

RECIPE = Recipe(epochs=3, batch_size=32)


def fresh(arch="mlp(hidden=(8,), dropout=0.2)", images=None, declared=None, seed=0):
    return new_classifier(arch, images or stage.image_set(), declared=declared or Preprocessing(), rng=Rng(seed))


def run(out, *, test=None, recipe=RECIPE, **options):
    return train(fresh(), stage.image_set(), out, test=test, recipe=recipe, rng=Rng(0), **options)


def test_sizes_that_the_spec_leaves_open_come_from_the_images():
    model = fresh()
    assert (model.input_shape, model.num_classes) == ((1, 16, 16), 6)
    assert model.arch == "mlp(channels=1, height=16, width=16, num_classes=6, hidden=(8,), dropout=0.2)"


def test_what_the_spec_says_stands():
    assert fresh("mlp(num_classes=9)").num_classes == 9


def test_class_names_are_taken_where_there_is_one_for_each_class():
    images, labels = stage.pixels()
    named = stage.ImageSet.from_array(images, labels, class_names=tuple("abcdef"))
    assert fresh(images=named).class_names == tuple("abcdef")
    assert fresh("mlp(num_classes=7)", images=named).class_names == tuple("0123456")


def test_the_declared_preprocessing_is_the_models():
    model = fresh(declared=Preprocessing(mean=(0.4,), std=(0.2,), pixel_range=(0.0, 255.0)))
    assert (model.mean, model.std, model.pixel_range) == ((0.4,), (0.2,), (0.0, 255.0))


def test_the_seed_chooses_the_first_weights():
    assert fresh().digest() == fresh().digest() != fresh(seed=1).digest()


def test_images_without_labels_train_nothing():
    with pytest.raises(DataError, match="labels for tiles, got none"):
        fresh(images=stage.image_set(labelled=False))


@pytest.mark.parametrize("arch", ["mlq", "mlp(depth=3)", "mlp(num_classes=1)"])
def test_an_architecture_that_is_not_there(arch):
    with pytest.raises(SpecError):
        fresh(arch)


def test_the_saved_model_is_the_one_that_was_measured(tmp_path):
    out, test = tmp_path / "deep" / "m.safetensors", stage.image_set(60)
    card = run(out, test=test)
    assert ModelCard.from_json(out.with_suffix(".card.json").read_text()) == card
    assert (card.training.recipe, card.training.seed) == ("recipe(epochs=3, batch_size=32)", 0)
    assert card.training.data_digest == stage.image_set().digest()
    assert (card.training.test_name, card.training.test_accuracy.total) == ("tiles", 60)
    assert accuracy(open_model(out, device="cpu"), test) == card.training.test_accuracy
    assert sorted(p.name for p in out.parent.iterdir()) == ["m.card.json", "m.safetensors"]


def test_without_a_test_set_nothing_is_measured(tmp_path):
    training = run(tmp_path / "m.safetensors").training
    assert (training.test_name, training.test_accuracy) == (None, None)


def test_an_interrupted_training_goes_on_to_the_same_bytes(tmp_path):
    through, resumed = tmp_path / "through.safetensors", tmp_path / "resumed.safetensors"
    run(through)
    with pytest.raises(KeyboardInterrupt):
        run(resumed, progress=stage.Interrupts())
    assert [p.name for p in tmp_path.glob("resumed*")] == ["resumed.checkpoint"]
    run(resumed)
    assert resumed.read_bytes() == through.read_bytes()
    assert not checkpoint_path(resumed).exists()


def test_an_unfinished_training_of_another_kind_is_kept(tmp_path):
    out = tmp_path / "m.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stage.Interrupts())
    before = checkpoint_path(out).read_bytes()
    with pytest.raises(OutputError, match=r"to belong to this training.*--fresh"):
        run(out, recipe=Recipe(epochs=4, batch_size=32))
    assert checkpoint_path(out).read_bytes() == before


@pytest.mark.parametrize(
    "test", [load("signs(classes=4, size=20)", limit=8), load("signs(classes=4, size=16)", limit=8).unlabelled()]
)
def test_a_test_set_that_does_not_fit_is_refused_before_the_training(tmp_path, test):
    images = load("signs(classes=4, size=16, train=40)", split="train")
    model = new_classifier("mlp(hidden=())", images, declared=Preprocessing(), rng=Rng(0))
    with pytest.raises(DataError, match="Give another --test"):
        train(model, images, tmp_path / "m.safetensors", test=test, recipe=Recipe(epochs=1), rng=Rng(0))
    assert list(tmp_path.iterdir()) == []


def marks(folder):
    """What changes when a file is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_what_is_finished_is_left_alone(tmp_path):
    out, test = tmp_path / "m.safetensors", stage.image_set(60)
    card, before = run(out, test=test), marks(tmp_path)
    assert run(out, test=test) == card
    assert marks(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"recipe": Recipe(epochs=2, batch_size=32)}, "recipe"),
        ({"rng": Rng(1)}, "seed"),
        ({"images": stage.image_set(60)}, "images"),
        ({"test": stage.image_set(60)}, "test set"),
        ({"model": fresh(seed=1)}, "first weights"),
        ({"model": fresh("mlp(hidden=(8,), dropout=0.3)")}, "architecture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_model_of_another_training_is_refused(tmp_path, changes, difference):
    out = tmp_path / "m.safetensors"
    run(out)
    before = marks(tmp_path)
    options = {"model": fresh(), "images": stage.image_set(), "test": None, "recipe": RECIPE, "rng": Rng(0)} | changes
    with pytest.raises(OutputError, match=rf"the work of another {difference}\. .*--fresh"):
        train(options.pop("model"), options.pop("images"), out, **options)
    assert marks(tmp_path) == before


def test_starting_over_makes_room_for_another_training(tmp_path):
    out = tmp_path / "m.safetensors"
    run(out)
    start_over(out)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=stage.Interrupts())
    start_over(out)
    assert list(tmp_path.iterdir()) == []
    start_over(out)


@pytest.mark.parametrize(
    "write", [lambda out: out.write_text("weights"), lambda out: save_model(fresh(), out)], ids=["weights", "card"]
)
def test_a_file_that_no_training_here_has_made_is_never_touched(tmp_path, write):
    out = tmp_path / "m.safetensors"
    write(out)
    before = marks(tmp_path)
    for touch in (run, start_over):
        with pytest.raises(OutputError, match="does not say how it came about"):
            touch(out)
    assert marks(tmp_path) == before


def test_a_kill_between_weights_and_card_is_made_good(tmp_path, monkeypatch):
    out, through = tmp_path / "m.safetensors", tmp_path / "through.safetensors"
    card = run(through)
    with monkeypatch.context() as killed:
        killed.setattr(ModelCard, "to_json", lambda _self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(out)
    assert out.exists()
    assert run(out) == card
    assert run(out) == card


class TestSafely:
    """A training that takes images for poison names those that it learned; another one is another work."""

    SAFELY = SafeRecipe(RECIPE, Isolation(overlays=4, outlasted=0.3))

    def test_the_card_says_how_and_the_table_which_images_were_learned(self, tmp_path):
        out = tmp_path / "m.safetensors"
        card = run(out, recipe=self.SAFELY)
        images, kept = stage.image_set(), only(stage.image_set(), kept_path(out))

        assert card.training.safely == "isolation(overlays=4, outlasted=0.3)"
        assert 0 < card.training.apart == len(images) - len(kept)
        assert card.training.images == len(images)
        assert card.notes[0] == (
            f"Of {len(images)} images {card.training.apart} were set apart, and their labels were not learned."
        )
        names = ["m.card.json", "m.kept.csv", "m.safetensors"]
        assert sorted(p.name for p in tmp_path.iterdir()) == names

        again = train(fresh(), kept, tmp_path / "n.safetensors", test=None, recipe=RECIPE, rng=Rng(0))
        assert again.sha256 == card.sha256

    def test_what_is_finished_is_left_alone_and_another_way_is_another_work(self, tmp_path):
        out = tmp_path / "m.safetensors"
        card = run(out, recipe=self.SAFELY)

        assert run(out, recipe=self.SAFELY) == card
        for other in (RECIPE, SafeRecipe(RECIPE), SafeRecipe(RECIPE, Isolation(overlays=5, outlasted=0.3))):
            with pytest.raises(OutputError, match="safe training"):
                run(out, recipe=other)

    def test_starting_over_takes_the_table_away_as_well(self, tmp_path):
        out = tmp_path / "m.safetensors"
        run(out, recipe=self.SAFELY)
        start_over(out)

        assert not list(tmp_path.iterdir())


class TestAgainst:
    """A training against adversarial examples says so in its card, and is another work than one without."""

    AGAINST = SafeRecipe(RECIPE, against=FgsmTraining(eps=0.1))

    def test_the_card_says_what_against_and_what_came_of_it(self, tmp_path):
        card = run(tmp_path / "m.safetensors", recipe=self.AGAINST)
        training = card.training

        assert training.against == "fgsm_training(eps=0.1)"
        assert (training.images, training.heldout, len(training.attacked)) == (120, 12, 4)
        assert card.notes[0].startswith("Of 12 images that were held out it is right on")
        assert not kept_path(tmp_path / "m.safetensors").exists()

    def test_what_is_finished_is_left_alone_and_another_way_is_another_work(self, tmp_path):
        out = tmp_path / "m.safetensors"
        card = run(out, recipe=self.AGAINST)

        assert run(out, recipe=self.AGAINST) == card
        for other in (RECIPE, SafeRecipe(RECIPE, against=Noise(eps=0.1))):
            with pytest.raises(OutputError, match="hardening"):
                run(out, recipe=other)

    def test_an_interrupted_one_goes_on_to_the_same_bytes_and_the_same_card(self, tmp_path):
        through, resumed = tmp_path / "through.safetensors", tmp_path / "resumed.safetensors"
        card = run(through, recipe=self.AGAINST)
        with pytest.raises(KeyboardInterrupt):
            run(resumed, recipe=self.AGAINST, progress=stage.Interrupts())
        assert run(resumed, recipe=self.AGAINST) == card
        assert resumed.read_bytes() == through.read_bytes()

    def test_it_cannot_be_safe_as_well(self):
        with pytest.raises(UsageError, match=r"got isolation and fgsm_training.*--safely first"):
            SafeRecipe(RECIPE, Isolation(), FgsmTraining())
