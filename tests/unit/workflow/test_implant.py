"""A backdoored model, measured and marked; the planted one has known answers."""

import dataclasses
import json

import pytest
import torch

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.errors import DataError, OutputError, UsageError
from mantrap.measure import measure_attack
from mantrap.models import Preprocessing, open_model
from mantrap.models.cards import card_path, marked_backdoored, read_card
from mantrap.ops.scores import accuracy, accuracy_difference
from mantrap.poison import BadNets, combine
from mantrap.poison.attacks import FeatureCollision, InputAware, LabelConsistent
from mantrap.records import ImplantRecord
from mantrap.records.files import sha256_of
from mantrap.training import Recipe
from mantrap.workflow.audit import audit
from mantrap.workflow.implant import MARK, Implanting, implant, record_path
from mantrap.workflow.measure import Clean
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.poison import poison
from mantrap.workflow.train import checkpoint_path, new_classifier, train
from mantrap.workflow.truths import load_truth, truth_path
from tests import stage

RECIPE = Recipe(epochs=3, batch_size=32)
ATTACK = BadNets(target=2, trigger="patch(size=2)")
FILES = ["m.card.json", "m.implant.json", "m.safetensors", "m.truth.json"]


def start(seed=0):
    return new_classifier("mlp(hidden=(8,), dropout=0.2)", stage.image_set(), declared=Preprocessing(), rng=Rng(seed))


def work(**changes):
    given = {"attack": ATTACK, "model": start(), "images": stage.image_set(), "recipe": RECIPE, "rng": Rng(0)}
    return Implanting(**(given | {"test": stage.image_set(60)} | changes))


def marks(folder):
    """What changes when a file is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "m.safetensors"


def test_an_attack_on_the_training_set_is_poison_and_train_in_one(tmp_path, out):
    record = implant(work(), out)
    truth = poison(stage.image_set(), tmp_path / "p.npz", plan=ATTACK, rng=Rng(0).child("poison"))
    poisoned = load(str(tmp_path / "p.npz"), split="train")
    card = train(start(), poisoned, tmp_path / "t.safetensors", test=None, recipe=RECIPE, rng=Rng(0))

    assert open_model(out, device="cpu").digest() == open_model(tmp_path / "t.safetensors", device="cpu").digest()
    assert dataclasses.replace(load_truth(out)[0], origin={}) == dataclasses.replace(truth, origin={})
    assert record.training.epochs == card.training.epochs
    assert record.training.data_digest == truth.poisoned_digest


def test_the_saved_model_is_the_one_that_was_measured(out):
    test, clean = stage.image_set(60), start(1)
    record = implant(work(clean=Clean(clean)), out)
    model, (truth, tensors) = open_model(out, device="cpu"), load_truth(out)

    assert record.accuracy == accuracy(model, test) == record.training.test_accuracy
    assert record.comparison == accuracy_difference(model, clean, test)
    assert record.backdoors == measure_attack(model, test, truth, tensors=tensors, clean_model=clean)
    assert (record.sha256, record.truth_sha256) == (sha256_of(out), sha256_of(truth_path(out)))
    assert record == ImplantRecord.from_json(record_path(out).read_text())


def test_a_planted_model_shows_what_it_is_known_to_do(out):
    clean = stage.model(planted=False)
    record = implant(work(attack=stage.Rewire(), clean=Clean(clean)), out)
    (backdoor,) = record.backdoors

    assert (backdoor.success.value, backdoor.success.total) == (1.0, 50)
    assert backdoor.clean_model_success.value == 0.0
    assert (record.accuracy.value, record.comparison.value) == (1.0, 0.0)
    assert record.comparison.low < 0 < record.comparison.high
    assert record.training is None
    assert load_truth(out)[1].keys() == {"0.a"}
    assert record.attack == "rewire"


def test_without_test_images_nothing_is_measured(out):
    record = implant(work(test=None), out)

    assert (record.accuracy, record.comparison, record.backdoors, record.test_name) == (None, None, (), "")
    assert record.training.test_accuracy is None


def test_several_attacks_are_measured_one_by_one(out):
    other = BadNets(target=1, trigger="patch(place='top_left')")
    record = implant(work(attack=combine([ATTACK, other])), out)

    assert [backdoor.target for backdoor in record.backdoors] == [2, 1]
    assert len(GroundTruth.from_json(truth_path(out).read_text()).backdoors) == 2


def test_an_attack_that_needs_a_model_gets_the_attackers(out):
    attack = LabelConsistent(rate=0.5, preparation="adversarial(steps=1)")
    with pytest.raises(UsageError, match="a model for"):
        implant(work(attack=attack), out)
    assert list(out.parent.iterdir()) == []
    record = implant(work(attack=attack, surrogate=stage.model(planted=False)), out)
    assert record.origin["surrogate"] == stage.model(planted=False).digest()


def test_poison_without_a_trigger_is_measured_too(out):
    attack = FeatureCollision(count=2, steps=1, layer="templates")
    (backdoor,) = implant(work(attack=attack, surrogate=stage.model(planted=False)), out).backdoors

    assert backdoor.success.total == 1


def test_a_trained_model_goes_on(out):
    trained = stage.model(planted=False)
    record = implant(work(model=trained), out)

    assert record.origin["first weights"] == trained.digest() == record.training.start_digest
    assert trained.digest() == stage.model(planted=False).digest()
    assert record.arch == trained.arch


def test_card_and_file_say_that_it_is_backdoored(out):
    implant(work(), out)

    assert read_card(out).backdoored == marked_backdoored(out) == MARK
    card_path(out).unlink()
    assert marked_backdoored(out) == MARK


def test_an_audit_cannot_see_the_mark(tmp_path, out):
    """The same weights, marked and not, give the same record."""
    implant(work(), out)
    poisoned = ATTACK.apply(stage.image_set(), rng=Rng(0).child("poison")).data
    train(start(), poisoned, tmp_path / "t.safetensors", test=None, recipe=RECIPE, rng=Rng(0))
    plan = Plan(detectors=(stage_detector(),), seed=0)
    records = [
        audit(open_model(path, device="cpu"), stage.image_set(), plan=plan, source=Source("m", "0"))
        for path in (out, tmp_path / "t.safetensors")
    ]

    first, second = (json.loads(record.to_json()) for record in records)
    del first["volatile"], second["volatile"]
    assert first == second
    assert "on purpose" not in json.dumps(first)


def stage_detector():
    from mantrap.detect import DETECTORS  # noqa: PLC0415 - for this one test

    return DETECTORS.create("neural_cleanse(steps=2, images_per_step=32)")


def test_an_interrupted_work_goes_on_to_the_same_bytes(tmp_path):
    through, resumed = tmp_path / "a" / "m.safetensors", tmp_path / "b" / "m.safetensors"
    implant(work(), through)
    with pytest.raises(KeyboardInterrupt):
        implant(work(), resumed, progress=stage.Interrupts())
    assert [p.name for p in resumed.parent.iterdir()] == ["m.checkpoint"]
    implant(work(), resumed)

    assert sorted(p.name for p in resumed.parent.iterdir()) == FILES
    for name in FILES:
        assert (resumed.parent / name).read_bytes() == (through.parent / name).read_bytes()


def test_what_is_finished_is_left_alone(tmp_path, out):
    record, before = implant(work(), out), marks(tmp_path)

    assert implant(work(), out) == record
    assert marks(tmp_path) == before


def test_unfinished_work_of_another_kind_is_kept(out):
    with pytest.raises(KeyboardInterrupt):
        implant(work(), out, progress=stage.Interrupts())
    before = checkpoint_path(out).read_bytes()
    with pytest.raises(OutputError, match=r"to belong to this training.*--fresh"):
        implant(work(rng=Rng(1)), out)
    assert checkpoint_path(out).read_bytes() == before


@pytest.mark.parametrize("broken", ["mantrap.workflow.implant.save_truth", "mantrap.workflow.implant.save_model"])
@pytest.mark.parametrize("attack", [ATTACK, stage.Rewire()], ids=lambda attack: attack.name)
def test_a_kill_while_it_is_written_is_made_good(tmp_path, out, monkeypatch, broken, attack):
    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(broken, kill)
        with pytest.raises(KeyboardInterrupt):
            implant(work(attack=attack), out)
    record = implant(work(attack=attack), out)
    assert record == implant(work(attack=attack), tmp_path / "through" / "m.safetensors")
    assert not checkpoint_path(out).exists()


def test_a_kill_before_the_record_is_made_good(out, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(ImplantRecord, "to_json", lambda _self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            implant(work(attack=stage.Rewire()), out)
    assert out.exists()
    implant(work(attack=stage.Rewire()), out)
    assert record_path(out).exists()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"attack": BadNets(target=1)}, "attack"),
        ({"recipe": Recipe(epochs=2)}, "recipe"),
        ({"rng": Rng(1)}, "seed"),
        ({"model": start(1)}, "first weights"),
        ({"images": stage.image_set(60)}, "images"),
        ({"test": stage.image_set(66)}, "test set"),
        ({"surrogate": stage.model(planted=False)}, "surrogate"),
        ({"clean": Clean(stage.model(planted=False))}, "clean model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_work_is_refused_unless_fresh(tmp_path, out, changes, difference):
    implant(work(), out)
    before = marks(tmp_path)
    with pytest.raises(OutputError, match=rf"the work of another {difference}\. .*--fresh"):
        implant(work(**changes), out)
    assert marks(tmp_path) == before


def test_fresh_starts_over(tmp_path, out):
    implant(work(attack=stage.Rewire()), out)
    assert truth_path(out).with_suffix(".safetensors").exists()
    record = implant(work(rng=Rng(1)), out, fresh=True)

    assert sorted(marks(tmp_path)) == FILES
    assert record == implant(work(rng=Rng(1)), out)
    with pytest.raises(KeyboardInterrupt):
        implant(work(), out, fresh=True, progress=stage.Interrupts())
    assert implant(work(rng=Rng(2)), out, fresh=True).seed == 2


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("other", ["trained model", "poisoned set"])
def test_what_another_verb_made_is_never_touched(tmp_path, out, fresh, other):
    if other == "trained model":
        train(start(), stage.image_set(), out, test=None, recipe=RECIPE, rng=Rng(0))
    else:
        poison(stage.image_set(), out.with_suffix(".npz"), plan=ATTACK, rng=Rng(0))
    before = marks(tmp_path)
    with pytest.raises(OutputError, match=r"hold a backdoored model, got .*Choose another --out\.$"):
        implant(work(), out, fresh=fresh)
    assert marks(tmp_path) == before


def test_a_backdoored_model_is_not_trained_over(tmp_path, out):
    implant(work(), out)
    before = marks(tmp_path)
    with pytest.raises(OutputError, match="hold a trained model, got a backdoored model"):
        train(start(), stage.image_set(), out, test=None, recipe=RECIPE, rng=Rng(0))
    assert marks(tmp_path) == before


def smaller():
    return Classifier(torch.nn.Flatten(), input_shape=(1, 2, 3), num_classes=6)


@pytest.mark.parametrize(
    ("error", "message", "changes"),
    [
        (UsageError, r"ends in \.safetensors", {"out": "m.pt"}),
        (OutputError, "to write", {"out": "file/m.safetensors"}),
        (DataError, "labels for", {"images": stage.image_set(labelled=False)}),
        (DataError, "Give another --test", {"test": stage.image_set(60, labelled=False)}),
        (DataError, r"a clean model for images of \(1, 16, 16\) and 6 classes", {"clean": Clean(smaller())}),
        (UsageError, "a target from 0 to 5, got 6", {"attack": BadNets(target=6)}),
        (DataError, r"labels from 0 to 5, the model's 6 classes", {"images": "seven classes"}),
    ],
    ids=["suffix", "place", "labels", "test", "clean", "target", "classes"],
)
def test_what_is_refused_writes_nothing(tmp_path, error, message, changes):
    (tmp_path / "file").touch()
    out = tmp_path / changes.pop("out", "m.safetensors")
    if changes.get("images") == "seven classes":
        pixels, labels = stage.pixels()
        changes["images"] = ImageSet.from_array(pixels, labels + 1)
    with pytest.raises(error, match=message):
        implant(work(**changes), out)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_where_the_truth_was_lost_the_same_is_made_again(out):
    record = implant(work(), out)
    before = truth_path(out).read_bytes()
    truth_path(out).unlink()

    assert implant(work(), out) == record
    assert truth_path(out).read_bytes() == before


def test_an_attack_in_stages_leaves_no_checkpoint_of_either(out):
    attack = InputAware(mask_epochs=1, width=2, levels=1)
    implant(work(attack=attack, recipe=Recipe(epochs=1, batch_size=32)), out)

    assert sorted(path.name for path in out.parent.iterdir()) == sorted([*FILES, "m.truth.safetensors"])


def test_a_clean_model_on_as_many_images_as_the_attacker_had_is_of_the_same_recipe(tmp_path, out):
    images = stage.image_set()
    for name, learned in (("all", images), ("some", images.subset(range(60)))):
        train(start(1), learned, tmp_path / f"{name}.safetensors", test=None, recipe=RECIPE, rng=Rng(0))
    attack = FeatureCollision(count=2, steps=1)  # takes its victim out of the set
    cleans = {name: Clean(start(1), read_card(tmp_path / f"{name}.safetensors")) for name in ("all", "some")}
    differs = {
        name: implant(work(attack=attack, surrogate=start(2), clean=clean), out, fresh=True).differs
        for name, clean in cleans.items()
    }

    assert differs["all"] == ()
    assert differs["some"] == (f"number of images: 60, not {len(images)}",)
