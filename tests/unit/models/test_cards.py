"""A saved model is a pair of files that belong together."""

import json

import pytest
import torch
from torch import nn

from mantrap.core import Classifier
from mantrap.errors import ModelError, OutputError, UsageError
from mantrap.models import ARCHITECTURES, open_model, save_model
from mantrap.models.cards import card_path, marked_backdoored, read_card
from mantrap.records import EpochRecord, ModelCard, TrainingRecord
from mantrap.records.files import sha256_of

TRAINING = TrainingRecord(
    recipe="sgd(lr=0.1)",
    seed=1,
    images=10,
    data_name="signs",
    data_digest="00",
    epochs=(EpochRecord(epoch=1, loss=0.5, accuracy=0.9),),
    stopped="last epoch",
    test_accuracy=None,
    test_name=None,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def model(arch="mlp(channels=3, height=2, width=2, num_classes=4, hidden=(5,))", **options):
    architecture = ARCHITECTURES.create(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = architecture.build()
    given = {"mean": (0.1, 0.2, 0.3), "std": (0.5,), "pixel_range": (0.0, 255.0), "class_names": "abcd", "arch": arch}
    return Classifier(module, input_shape=architecture.input_shape, num_classes=4, **{**given, **options})


def test_what_is_saved_is_what_is_opened(tmp_path):
    before = model()
    card = save_model(before, tmp_path / "m.safetensors", training=TRAINING, notes=["planted"])
    after = open_model(tmp_path / "m.safetensors", device="cpu")
    assert after.digest() == before.digest()
    assert (after.arch, after.class_names, after.std) == (before.arch, tuple("abcd"), (0.5,))
    assert ModelCard.from_json((tmp_path / "m.card.json").read_text()) == card
    assert card.training == TRAINING
    assert card.notes == ("planted",)
    assert card.sha256 == sha256_of(tmp_path / "m.safetensors")
    assert not after.module.training


MARK = "It carries a backdoor, on purpose."


def test_the_mark_is_in_the_card_and_outlives_it(tmp_path):
    path = tmp_path / "m.safetensors"
    card = save_model(model(), path, backdoored=MARK)
    assert read_card(path) == card
    assert card.backdoored == marked_backdoored(path) == MARK
    card_path(path).unlink()
    path = path.rename(tmp_path / "innocent.safetensors")
    assert marked_backdoored(path) == MARK


def test_what_is_not_marked_has_no_mark(tmp_path):
    save_model(model(), tmp_path / "m.safetensors")
    torch.save(model().module.state_dict(), tmp_path / "m.pt")
    (tmp_path / "text.safetensors").write_text("nothing")
    names = ("m.safetensors", "m.pt", "text.safetensors", "none.safetensors")
    assert [marked_backdoored(tmp_path / name) for name in names] == [""] * 4


def test_the_mark_changes_nothing_of_the_model(tmp_path):
    save_model(model(), tmp_path / "plain.safetensors")
    save_model(model(), tmp_path / "marked.safetensors", backdoored=MARK)
    plain, marked = (open_model(tmp_path / f"{name}.safetensors", device="cpu") for name in ("plain", "marked"))
    assert vars(marked).keys() == vars(plain).keys()
    assert marked.digest() == plain.digest()
    assert not [value for value in vars(marked).values() if MARK in str(value)]


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_model(model(), tmp_path / f"{name}.safetensors", training=TRAINING)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert (tmp_path / "a.card.json").read_bytes() == (tmp_path / "b.card.json").read_bytes()
    assert names_in(tmp_path) == ["a.card.json", "a.safetensors", "b.card.json", "b.safetensors"]


def test_tied_weights_and_views_are_saved_whole(tmp_path):
    tied = nn.Linear(12, 12, bias=False)
    module = nn.Sequential(nn.Flatten(), tied, tied)
    module[1].weight.data = module[1].weight.data.T
    save_model(Classifier(module, input_shape=(3, 2, 2), num_classes=12), tmp_path / "m.safetensors")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    layer = nn.Linear(12, 12, bias=False)\n"
        "    return nn.Sequential(nn.Flatten(), layer, layer)\n"
    )
    opened = open_model(tmp_path / "m.safetensors", arch=f"{tmp_path / 'net.py'}:make", device="cpu")
    assert torch.equal(opened.module[1].weight, module[1].weight)


@pytest.mark.parametrize("name", ["m.pt", "m"])
def test_the_name_says_what_it_is(tmp_path, name):
    with pytest.raises(UsageError, match=r"ends in .safetensors"):
        save_model(model(), tmp_path / name)
    assert not names_in(tmp_path)


def test_an_unwritable_place_leaves_nothing(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match=r"to write .*taken/m.safetensors"):
        save_model(model(), tmp_path / "taken" / "m.safetensors")
    assert names_in(tmp_path) == ["taken"]


def test_other_weights_under_the_card_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(model(), path)
    other = model(arch="mlp(channels=3, height=2, width=2, num_classes=4, hidden=(6,))")
    save_model(other, tmp_path / "other.safetensors")
    (tmp_path / "other.safetensors").replace(path)
    with pytest.raises(ModelError, match=r"the weights that m\.card\.json was written for"):
        open_model(path, device="cpu")


def test_a_crash_between_the_two_files_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_model(model(), path)
    monkeypatch.setattr(ModelCard, "to_json", lambda _self: (_ for _ in ()).throw(KeyboardInterrupt))
    changed = model()
    with torch.no_grad():
        changed.module[1].bias += 1
    with pytest.raises(KeyboardInterrupt):
        save_model(changed, path)
    with pytest.raises(ModelError, match="was written for"):
        open_model(path, device="cpu")


def test_a_card_is_only_looked_for_beside_safetensors(tmp_path):
    save_model(model(), tmp_path / "m.safetensors")
    (tmp_path / "m.safetensors").rename(tmp_path / "m.pt")
    assert read_card(tmp_path / "m.pt") is None
    assert read_card(tmp_path / "none.safetensors") is None


def spoilt(tmp_path, **changes):
    path = tmp_path / "m.safetensors"
    save_model(model(), path)
    card = json.loads(card_path(path).read_text())
    card_path(path).write_text(json.dumps({**card, **changes}))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "audit"},
        {"input_shape": [0, 2, 2]},
        {"input_shape": [3, 10**9, 2]},
        {"input_shape": [3, 2]},
        {"num_classes": 10**9},
        {"num_classes": 3},
        {"class_names": ["a"]},
        {"mean": [0.5, 0.5]},
        {"mean": [float("nan")]},
        {"std": [0.0]},
        {"pixel_range": [1.0, 0.0]},
        {"arch": 3},
        {"schema_version": "9.0"},
    ],
)
def test_a_card_that_claims_the_impossible_is_refused(tmp_path, changes):
    with pytest.raises(ModelError, match=r"a model card in .*m\.card\.json"):
        open_model(spoilt(tmp_path, **changes), device="cpu")


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_card_that_is_no_record_is_refused(tmp_path, text):
    path = spoilt(tmp_path)
    card_path(path).write_bytes(text)
    with pytest.raises(ModelError, match="a model card in"):
        open_model(path, device="cpu")


def test_a_card_cannot_have_code_run(tmp_path):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    path = spoilt(tmp_path, arch=f"{tmp_path / 'evil.py'}:Net")
    with pytest.raises(UsageError, match=r"a card that names .*evil.py.*Give --arch"):
        open_model(path, device="cpu")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("arch", ["Sequential", "((", "mlp(hidden=(65536, 65536, 65536))"])
def test_a_card_that_names_no_network_of_these_weights_is_refused_without_taking_memory(tmp_path, arch):
    with pytest.raises((UsageError, ModelError), match="--arch"):
        open_model(spoilt(tmp_path, arch=arch), device="cpu")
