"""``mantrap train --against``: training against adversarial examples."""

import pytest

from mantrap.records import ModelCard

TILES = ("--images", "tiles120.npz", "--split", "all", "--arch", "mlp(hidden=(8,))")
SHORT = ("--recipe", "recipe(epochs=2)")


@pytest.fixture
def train(mantrap, tmp_path):
    return lambda *words: mantrap("train", *TILES, "--out", tmp_path / "m.safetensors", *words)


def test_the_card_says_against_what(train):
    code, out, _ = train(*SHORT, "--against", "fgsm_training(eps=0.1)", "--json")
    card = ModelCard.from_json(out)

    assert code == 0
    assert card.training.against == "fgsm_training(eps=0.1)"
    assert [attacked.epoch for attacked in card.training.attacked] == [0, 1, 2]


def test_what_attacks_came_to_is_printed(train):
    code, out, _ = train(*SHORT, "--against", "noise(eps=0.1)")

    assert code == 0
    assert "\nOf 12 images that were held out it is right on " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against", "fgsm"], "a hardening out of fgsm_training, pgd_training, trades, fast, pool, noise"),
        (["--against", "trades(beta=0)"], "beta"),
        (["--against", "noise", "--safely", "isolation"], "a safe training or a hardening"),
        (["--against", "noise", "--recipe", "recipe(loss='one_against_rest')"], "without a loss of its own"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(train, words, message):
    code, out, err = train(*words)

    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_all_ways_are_listed_and_explained(mantrap):
    listed = mantrap("list", "hardenings")[1]

    assert [line.split()[0] for line in listed.splitlines()[1:]] == [
        "fgsm_training",
        "pgd_training",
        "trades",
        "fast",
        "pool",
        "noise",
    ]
    assert "clean=0.5" in mantrap("explain", "fgsm_training")[1]
    assert "one_against_rest" in mantrap("list", "losses")[1]
