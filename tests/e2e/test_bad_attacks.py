"""What people ask of an attack by mistake: one sentence each, the right exit code, and nothing half-written."""

import pytest

from mantrap.cli import main
from tests import stage

USAGE, REFUSED = 2, 4
VERBS = ("poison", "implant")

both_verbs = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture
def given(tmp_path, monkeypatch):
    """What a good attack is given, in a folder of its own; each test spoils one thing."""
    monkeypatch.chdir(tmp_path)
    stage.write_images(tmp_path)
    return {"--images": "tiles120.npz", "--split": "all", "--attack": "badnets"}


def words(verb, given):
    """The whole command."""
    own = {"--out": "out/p.npz"} if verb == "poison" else {"--out": "out/m.safetensors", "--arch": "mlp(hidden=())"}
    options = own | ({} if verb == "poison" else {"--recipe": "recipe(epochs=1)"}) | given
    return [verb, *(word for pair in options.items() for word in pair)]


@pytest.fixture
def fails(given, fails_cleanly):
    """Run a verb, which must fail."""
    return lambda verb, code, *said: fails_cleanly(words(verb, given), code, *said)


@both_verbs
def test_what_the_others_spoil_is_good(given, verb, capsys):
    assert main(words(verb, given)) == 0
    assert capsys.readouterr().err == ""


@both_verbs
@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ("badnets(rate=0.001)", ("a rate that selects 1 to 100 of 120 images", "0.001, which selects 0")),
        ("badnets(rate=0.9)", ("a rate that selects 1 to 100 of 120 images", "0.9, which selects 108")),
        ("badnets(rate=0)", ("rate in (0, 1]", "got 0")),
        ("badnets(rate=1.5)", ("rate in (0, 1]", "got 1.5")),
        ("sig(rate=0.01)", ("a rate that selects 1 to 20 of 20 images", "0.01, which selects 0")),
        ("badnets(trigger='patch(size=17)')", ("a patch that fits into 16x16 pixels", "17x17")),
        ("badnets(target=6)", ("a target from 0 to 5", "got 6")),
        ("badnets(target=-1)", ("target of at least 0", "got -1")),
        ("badnets(goal='source_specific', sources=(0,))", ("target other than the sources (0,)", "got 0")),
        ("badnets(goal='source_specific', sources=(7,))", ("source",)),
        ("badnets(trigger='patch(colour=(1.0, 0.0, 0.0))')", ("a colour of 1 or 1 values", "(1.0, 0.0, 0.0)")),
        ("badnets(trigger='patch(colour=1.5)')", ("colour with values in [0, 1]", "got 1.5")),
        ("invisible(rate=0.1, trigger='static_perturbation(norm=\"l2\", eps=9)')", ("an eps of at most 8", "got 9")),
        ("frequency(magnitude=1e6)", ("waves that lie within the range of pixels",)),
        ("label_consistent", ("a model for", "got none")),
        ("badnet", ("an attack out of badnets", "Did you mean badnets?")),
        ("badnets(rat=1)", ("'rat'", "Did you mean rate?")),
        ("badnets(trigger='patsch')", ("a trigger out of patch", "'patsch'")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_attack_that_cannot_be(given, fails, verb, attack, said):
    given["--attack"] = attack
    fails(verb, USAGE, *said)


@both_verbs
def test_images_without_labels(given, fails, tmp_path, verb):
    import numpy as np  # noqa: PLC0415 - for this one test

    np.savez(tmp_path / "bare.npz", x=stage.pixels()[0][:, 0].numpy())
    given["--images"] = "bare.npz"
    fails(verb, REFUSED, "label", "bare.npz")


@pytest.mark.parametrize("attack", ["badnets", "wanet"])
def test_a_model_for_other_images(given, fails, attack):
    given["--attack"], given["--arch"] = attack, "mlp(hidden=(), channels=3)"
    fails("implant", REFUSED, "images of shape (3, 16, 16), as the model takes them", "(1, 16, 16)")


def test_more_poison_than_there_is_in_a_batch(given, fails):
    given["--attack"] = "wanet(rate=0.9, cross_ratio=0)"
    fails("implant", USAGE, "a rate of at most 0.8333, the share of the other classes", "got 0.9")


@both_verbs
@pytest.mark.parametrize("place", ["tiles120.npz", "/proc"])
def test_an_output_that_cannot_be_written(given, fails, verb, place):
    given["--out"] = f"{place}/{'p.npz' if verb == 'poison' else 'm.safetensors'}"
    fails(verb, USAGE, "to write", "Choose a place that is writable")


@both_verbs
def test_an_output_of_another_form(given, fails, verb):
    given["--out"] = "out.zip"
    fails(verb, USAGE, "ends in ", "got out.zip", "Rename the output")


@both_verbs
def test_an_output_of_another_attack(given, fails, capsys, verb):
    assert main(words(verb, given)) == 0
    capsys.readouterr()
    given["--attack"] = "badnets(target=1)"
    fails(verb, USAGE, "the work of another attack", "Choose another --out, or start over with --fresh")


@both_verbs
def test_a_place_that_holds_something_else(given, fails, tmp_path, verb):
    (tmp_path / "out").mkdir()
    for name in ("p.npz", "m.safetensors"):
        (tmp_path / "out" / name).write_text("years")
    fails(verb, USAGE, "something that does not say how it came about", "Choose another --out.")
    given["--fresh"] = "--quiet"
    fails(verb, USAGE, "something that does not say how it came about", "Choose another --out.")


def test_the_images_themselves_are_not_written_over(given, fails):
    given["--out"] = "tiles120.npz"
    fails("poison", USAGE, "something that does not say how it came about")


def test_an_attack_by_name_and_by_its_parts(given, fails):
    given["--test-trigger"] = "patch"
    fails("poison", USAGE, "an attack by --attack, or its parts", "--attack, --test-trigger")


def test_a_model_that_is_not_there(given, fails):
    given["--model"] = "none.safetensors"
    fails("poison", USAGE, "a model file at none.safetensors")


def test_nothing_to_plant_the_backdoor_in(given, capsys):
    given["--recipe"] = "recipe"
    given["--out"] = "out/m.safetensors"
    assert main(["implant", *(word for pair in given.items() for word in pair)]) == USAGE
    assert "neither --arch nor --from" in capsys.readouterr().err


def test_a_test_set_that_the_attack_is_not_aimed_at(given, fails, tmp_path):
    """Said after the training, which is kept: the same command with another test set goes on."""
    stage.write_images(tmp_path, 1)  # one image, of class 0
    given["--test"] = "tiles1.npz"
    assert main(words("implant", given)) == REFUSED
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m.checkpoint"]
    given["--test"] = "tiles120.npz"
    assert main(words("implant", given)) == 0
