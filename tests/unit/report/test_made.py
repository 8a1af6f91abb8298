"""Models that were made, as text."""

import dataclasses

import pytest

from mantrap.ops.intervals import wilson
from mantrap.report import render_card_text, render_implant_text
from tests import attacked
from tests.unit.report.conftest import HOSTILE

ENDED = "3 epochs (last epoch), loss 0.3333"
ACCURACY = "Accuracy on digits (test): 95.00 % (88.82 to 97.85, 100 images)"
WORKS = "patch(size=4), all_to_one(target=7): works on 98.00 % (93.00 to 99.45, 100 images)"


def test_a_card_says_what_was_trained_how_it_ended_and_how_good_it_is():
    noted = attacked.card(notes=("Ten images were set apart.",))

    assert render_card_text(attacked.card()) == f"mlp(hidden=(8,))\n{ENDED}\n{ACCURACY}"
    assert render_card_text(noted) == f"mlp(hidden=(8,))\n{ENDED}\nTen images were set apart.\n{ACCURACY}"


def test_a_card_says_no_more_than_it_knows():
    unmeasured = dataclasses.replace(attacked.TRAINING, test_accuracy=None, epochs=())

    assert render_card_text(attacked.card(training=None)) == "mlp(hidden=(8,))"
    assert render_card_text(attacked.card(training=unmeasured)) == "mlp(hidden=(8,))\n0 epochs (last epoch)"


def test_the_card_of_a_backdoored_model_says_so():
    mark = "A backdoor was planted on purpose."

    assert render_card_text(attacked.card(backdoored=mark)).endswith(f"\n{mark}")


def test_an_attacked_model_stands_beside_a_clean_one():
    assert render_implant_text(attacked.implanted(differs=("seed: 1, not 0", "images"))).splitlines() == [
        "badnets(target=7) in mlp(hidden=(8,))",
        ENDED,
        ACCURACY,
        "The clean model: 97.00 % (91.55 to 98.97, 100 images); difference -2.00 points (-5.00 to +1.00)",
        "Not all of it is the attack's: the clean model has another seed: 1, not 0; images",
        f"{WORKS}; on the clean model 2.00 %",
        "Card and file mark the model as backdoored; the truth lies beside them.",
    ]


def test_bystanders_are_told_where_there_are_some():
    alone = attacked.attack(bystanders=wilson(3, 100), clean_model_success=None)

    assert f"\n{WORKS}; on images that it is not aimed at 3.00 %\n" in render_implant_text(
        attacked.implanted(backdoors=(alone,))
    )


def test_without_training_and_test_images_that_is_all():
    bare = attacked.implanted(training=None, accuracy=None, comparison=None, backdoors=())

    assert render_implant_text(bare).splitlines() == [
        "badnets(target=7) in mlp(hidden=(8,))",
        "Nothing was measured: give --test.",
        "Card and file mark the model as backdoored; the truth lies beside them.",
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_change_no_line(name):
    training = dataclasses.replace(attacked.TRAINING, test_name=name)
    card, record = attacked.card(training=training, notes=(name,)), attacked.implanted(test_name=name, arch=name)

    for text, lines in ((render_card_text(card), 4), (render_implant_text(record), 6)):
        assert len(text.splitlines()) == lines
        assert "\x1b" not in text
        assert "\u202e" not in text
