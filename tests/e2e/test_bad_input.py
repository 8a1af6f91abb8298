"""What people give by mistake: one sentence each, the right exit code, and nothing half-written."""

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from mantrap.cli import main
from tests import stage

USAGE, REFUSED = 2, 4


def picture(path, side=stage.SIDE):
    """A whole grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(side).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def given(tmp_path, monkeypatch):
    """What a good audit is given, in a folder of its own; each test spoils one thing."""
    monkeypatch.chdir(tmp_path)
    stage.write_model(tmp_path, planted=True)
    stage.write_images(tmp_path)
    return {"model": "planted.safetensors", "--arch": stage.ARCH, "--images": "tiles120.npz", "--out": "run"}


@pytest.fixture
def fails(given, tmp_path, fails_cleanly):
    """Run the audit, which must fail and begin no run."""

    def run(code, *said):
        words = ["audit", given.pop("model"), *(word for pair in given.items() for word in pair)]
        fails_cleanly([*words, "--detector", "neural_cleanse(steps=2, images_per_step=32)"], code, *said)
        assert not (tmp_path / "run" / "run.json").exists()

    return run


def test_what_the_others_spoil_is_good(given, capsys):
    words = ["audit", given.pop("model"), *(word for pair in given.items() for word in pair)]
    assert main([*words, "--detector", "neural_cleanse(steps=2, images_per_step=32)"]) == 3
    assert capsys.readouterr().err == ""


def test_an_empty_folder(given, fails, tmp_path):
    (tmp_path / "images").mkdir()
    given["--images"] = "./images"
    fails(REFUSED, "images (", "an empty folder", "Name a folder that holds images")


def test_an_unreadable_image(given, fails, tmp_path):
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.png").write_text("This is no image.")
    given["--images"] = "./images"
    fails(REFUSED, "b.png", "Replace the file, or leave it out")


def test_a_truncated_image(given, fails, tmp_path):
    whole = picture(tmp_path / "images" / "a.png").read_bytes()
    (tmp_path / "images" / "b.png").write_bytes(whole[: len(whole) // 2])
    given["--images"] = "./images"
    fails(REFUSED, "a whole image", "b.png")


def test_images_of_several_sizes(given, fails, tmp_path):
    picture(tmp_path / "images" / "a.png", 16)
    picture(tmp_path / "images" / "b.png", 20)
    given["--images"] = "./images"
    fails(USAGE, "images of one size", "16x16", "20x20", "--resize HxW")


def test_labels_outside_the_models_classes(given, fails, tmp_path):
    images, labels = stage.pixels(60)
    np.savez(tmp_path / "more.npz", x=images[:, 0].numpy(), y=labels.numpy() + 3)
    given["--images"] = "more.npz"
    fails(REFUSED, "labels from 0 to 5", "30 of 60 images with labels outside (6, 7, 8)")


def test_a_table_with_a_file_that_is_missing(given, fails, tmp_path):
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "labels.csv").write_text("file,label\na.png,0\nb.png,1\n")
    given["--images"] = "./images"
    fails(REFUSED, "row 3", "labels.csv", "'b.png'")


def test_an_npz_without_images(given, fails, tmp_path):
    np.savez(tmp_path / "other.npz", pictures=np.zeros((2, 16, 16), np.uint8))
    given["--images"] = "other.npz"
    fails(REFUSED, "an array 'x'", "'pictures'")


def test_an_unknown_architecture(given, fails):
    given["--arch"] = "mnist_cn"
    fails(USAGE, "architecture out of mnist_cnn", "'mnist_cn'", "Did you mean mnist_cnn?")


def test_no_architecture_and_no_card(given, fails):
    del given["--arch"]
    fails(USAGE, "neither --arch nor a card", "mnist_cnn")


def test_weights_that_do_not_fit(given, fails, tmp_path):
    weights = stage.module(planted=True).state_dict()
    weights["extra"] = torch.zeros(2)
    weights["templates.weight"] = torch.zeros(5, 256)
    del weights["hinge.bias"]
    (tmp_path / given["model"]).write_bytes(safetensors.torch.save(weights))
    fails(REFUSED, "missing: 'hinge.bias'", "unexpected: 'extra'", "'templates.weight' 5x256 for 6x256")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(given, fails, tmp_path, value):
    weights = stage.module(planted=True).state_dict()
    weights["templates.bias"][2] = value
    (tmp_path / given["model"]).write_bytes(safetensors.torch.save(weights))
    fails(REFUSED, "finite weights", "'templates.bias'")


def test_a_model_that_is_no_file_of_weights(given, fails, tmp_path):
    (tmp_path / given["model"]).write_text("<!DOCTYPE html><html>Not found</html>")
    fails(REFUSED, "a web page", "Download the file itself")


def test_a_model_that_is_not_there(given, fails):
    given["model"] = "nowhere.safetensors"
    fails(USAGE, "a model file at nowhere.safetensors, got nothing there")


def test_images_that_are_not_there(given, fails):
    given["--images"] = "nowhere.npz"
    fails(USAGE, "'nowhere.npz', which is not there")


def test_a_model_that_returns_probabilities(given, fails):
    given["--arch"] = given["--arch"].replace("Templates", "Probabilities")
    fails(REFUSED, "expected logits, got probabilities", "Remove the final softmax")


@pytest.mark.parametrize("place", ["tiles120.npz", "tiles120.npz/run", "/proc/run"])
def test_an_output_folder_that_cannot_be_written(given, fails, place):
    given["--out"] = place
    fails(USAGE, "a folder that can be written at", "Choose another --out")


def test_an_output_folder_that_holds_something_else(given, fails, tmp_path):
    (tmp_path / "run" / "work").mkdir(parents=True)
    (tmp_path / "run" / "work" / "thesis.tex").write_text("years")
    fails(USAGE, "a folder that holds work", "Choose another --out")


def test_an_output_folder_of_another_audit(given, tmp_path, capsys):
    words = ["audit", given["model"], "--arch", given["--arch"], "--images", given["--images"], "--out", "run"]
    words += ["--detector", "neural_cleanse(steps=2, images_per_step=32)"]
    assert main(words) == 3
    capsys.readouterr()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert main([*words, "--limit", "100", "--seed", "1"]) == USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        "the run of another images, seed. Choose another --out, or start over in this one with --fresh." in captured.err
    )
    assert captured.err.count("\n") == 1
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_mistake_that_is_mended_finds_the_place_free(given, fails, capsys):
    good = dict(given)
    given["--arch"] = given["--arch"].replace("Templates", "Probabilities")
    fails(REFUSED, "probabilities")
    words = ["audit", good.pop("model"), *(word for pair in good.items() for word in pair)]
    assert main([*words, "--detector", "neural_cleanse(steps=2, images_per_step=32)"]) == 3
