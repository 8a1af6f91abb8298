"""The other verbs, one after the other as somebody would use them."""

import pytest

from mantrap.cli.showing import ALREADY
from mantrap.core.truth import GroundTruth
from mantrap.data import NAMED
from mantrap.poison import ATTACKS
from mantrap.records import AuditRecord, ModelCard
from mantrap.report import render

SIGNS = "signs(classes=4, size=16, train=240, test=120)"


def test_train_poison_train_audit_report(mantrap, tmp_path):
    """The whole story on four small signs. Two epochs and two steps: what is found is not asked here."""
    recipe = "recipe(epochs=2, optimizer='adam(lr=0.003)')"
    clean, bad, poisoned, run = (tmp_path / n for n in ("clean.safetensors", "bad.safetensors", "bad.npz", "run"))

    code, out, err = mantrap("train", "--images", SIGNS, "--arch", "mnist_cnn", "--out", clean, "--recipe", recipe)
    card = ModelCard.from_json(clean.with_suffix(".card.json").read_text())
    assert (code, err) == (0, "")
    assert out.startswith(f"{clean}: mnist_cnn(")
    assert "2 epochs (last epoch), loss " in out
    assert f"Accuracy on signs: {100 * card.training.test_accuracy.value:.2f} %" in out
    assert card.training.test_accuracy.total == 120

    words = ["--images", SIGNS, "--out", poisoned, "--trigger", "patch(size=3)", "--relabelling"]
    code, out, err = mantrap("poison", *words, "all_to_one(target=2)")
    truth = GroundTruth.from_json((tmp_path / "bad.truth.json").read_text())
    assert (code, err) == (0, "")
    assert "24 of 240 images, patch(size=3), all_to_one(target=2)\n" in out
    assert [(backdoor.target, len(backdoor.poisoned)) for backdoor in truth.backdoors] == [(2, 24)]

    words = ["--images", poisoned, "--arch", "mnist_cnn", "--out", bad, "--recipe", recipe, "--test", SIGNS]
    code, out, err = mantrap("train", *words, "--json")
    assert (code, err) == (0, "")
    assert ModelCard.from_json(out).training.data_digest == truth.poisoned_digest

    short = "neural_cleanse(steps=2, images_per_step=32)"
    code, out, err = mantrap("audit", bad, "--images", SIGNS, "--out", run, "--detector", short)
    record = AuditRecord.from_json((run / "audit.json").read_text())
    assert (code, err) == ({"NO_EVIDENCE": 0, "SUSPICIOUS": 1, "INCONCLUSIVE": 3}[record.verdict], "")
    assert record.model.class_names[0] == "stop"

    assert mantrap("report", run) == (0, render(record, "text"), "")


def test_fresh_throws_an_unfinished_training_away(mantrap, tmp_path):
    out = tmp_path / "m.safetensors"
    (tmp_path / "m.checkpoint").write_bytes(b"half of another training")
    words = ["train", "--images", "tiles120.npz", "--split", "all", "--arch", "mlp(hidden=())", "--out", out]
    short = ["--recipe", "recipe(epochs=1)"]
    code, stdout, err = mantrap(*words, *short)
    assert (code, stdout) == (2, "")
    assert "checkpoint" in err
    assert mantrap(*words, *short, "--fresh")[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.card.json", "m.safetensors"]


def test_a_finished_training_says_so_and_another_is_refused(mantrap, tmp_path):
    out = tmp_path / "m.safetensors"
    words = ["train", "--images", "tiles120.npz", "--split", "all", "--arch", "mlp(hidden=())", "--out", out]
    first = mantrap(*words, "--recipe", "recipe(epochs=1)")
    marks = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    code, again, err = mantrap(*words, "--recipe", "recipe(epochs=1)")
    assert (code, err) == (0, "")
    assert again == first[1] + ALREADY
    code, stdout, err = mantrap(*words, "--recipe", "recipe(epochs=2)")
    assert (code, stdout) == (2, "")
    assert "the work of another recipe" in err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == marks
    code, stdout, _ = mantrap(*words, "--recipe", "recipe(epochs=2)", "--fresh")
    assert code == 0
    assert "2 epochs" in stdout
    assert ALREADY not in stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--recipe", "recipe(epochs=0)"], 2, "epochs of at least 1"),
        (["--recipe", "recipe(epoch=3)"], 2, "Did you mean epochs?"),
        (["--arch", "mnist_cn"], 2, "Did you mean mnist_cnn?"),
        (["--split", "train"], 2, "which is not divided"),
        (["--recipe", "recipe(epochs=1, optimizer='sgd(lr=1e30)')"], 5, "a finite loss, got"),
        (["--out", "m.pt"], 2, "ends in .safetensors"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_training_that_cannot_be_saves_nothing(mantrap, tmp_path, monkeypatch, words, code, message):
    given = {"--images": "tiles120.npz", "--split": "all", "--arch": "mlp(hidden=(8,))", "--out": "m.safetensors"}
    given |= dict([words])
    given["--out"] = tmp_path / given["--out"]
    got, out, err = mantrap("train", *(word for pair in given.items() for word in pair))
    assert (got, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_list_names_all_there_is(mantrap):
    code, out, err = mantrap("list")
    assert (code, err) == (0, "")
    families = [line for line in out.splitlines() if not line.startswith(" ")]
    assert {"detectors", "data sets", "architectures", "attacks", "triggers", "preparations"} <= set(families)
    named = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if line.startswith("  ")}
    assert {"neural_cleanse", "patch", "random_share", "all_to_one", "mnist_cnn", "recipe", "sgd", "cosine"} <= set(
        named
    )
    assert set(NAMED.names) <= set(named)


def test_the_list_of_one_family(mantrap):
    code, out, err = mantrap("list", "attacks")
    assert (code, err) == (0, "")
    assert out in mantrap("list")[1]
    assert [line for line in out.splitlines() if not line.startswith(" ")] == ["attacks"]
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(ATTACKS.names)
    code, out, err = mantrap("list", "attack")
    assert (code, out) == (2, "")
    assert "one of detectors, " in err


def test_explain_describes_every_name_on_the_list(mantrap):
    names = [line.split()[0] for line in mantrap("list")[1].splitlines() if line.startswith("  ")]
    assert len(names) > 20
    for name in names:
        code, out, err = mantrap("explain", name)
        assert (code, err) == (0, ""), name
        assert out.startswith(f"{name} ("), name


def test_explain_shows_the_options_and_their_values(mantrap):
    code, out, _ = mantrap("explain", "patch(size=7)")
    assert code == 0
    assert "  size=7\n" in out
    assert "  margin=1\n" in out


def test_the_doctor_says_what_is_here(mantrap, monkeypatch, tmp_path):
    monkeypatch.setenv("MANTRAP_DATA", str(tmp_path))
    code, out, err = mantrap("doctor")
    assert (code, err) == (0, "")
    assert all(name in out for name in ("python", "torch", "device", "parquet", str(tmp_path), *NAMED.names))
    assert "there (4000 images in train)" in out
