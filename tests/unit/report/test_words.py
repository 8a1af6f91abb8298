import dataclasses
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantrap.ops.intervals import wilson
from mantrap.records import Verdict
from mantrap.report.words import (
    VERDICT_WORDS,
    chance,
    clip,
    confidence,
    name_of,
    natural,
    number,
    paper_verdict,
    percent,
    scrub,
    signed,
    threshold_of,
    washed_out,
)


def test_every_verdict_has_words_and_none_calls_a_model_clean():
    assert set(VERDICT_WORDS) == set(Verdict)
    for words in VERDICT_WORDS.values():
        assert not {"clean", "safe", "secure"} & set(f"{words.title} {words.meaning}".lower().replace(".", " ").split())


@given(st.text(st.characters(codec=None)))
def test_scrubbed_text_holds_no_invisible_character_and_goes_to_utf8(text):
    shown = scrub(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown.encode().decode() == shown
    assert scrub(shown) == shown


def test_scrubbing_leaves_markup_and_scripts_of_the_world_alone():
    assert scrub("<b>Straße 停止 café</b>") == "<b>Straße 停止 café</b>"
    assert scrub("a\tb\r\nc") == "a b  c"


@pytest.mark.parametrize(
    ("label", "name", "shown"),
    [(7, "7", "7"), (7, "", "7"), (7, " \u202e ", "7"), (3, "stop", "3 stop"), (3, "x" * 90, "3 " + "x" * 79 + "…")],
)
def test_a_label_is_its_number_and_its_name(label, name, shown):
    assert name_of(label, name) == shown


@given(st.floats(0, 1))
def test_a_share_that_is_not_all_never_reads_as_all(share):
    shown = percent(share)
    assert (shown == "100 %") == (share == 1)
    assert (shown == "0 %") == (share == 0)
    assert "100.0" not in shown
    assert shown != "0.0 %"


def test_a_confidence_never_reads_as_certain():
    assert [confidence(v) for v in (1.0, 0.0, 0.5)] == [">99.9 %", "<0.1 %", "50.0 %"]


def test_numbers_are_short_and_keep_their_sign():
    assert [number(v) for v in (0.0, -0.001, 9.999, 12.345, 4321.0)] == ["0.00", "0.00", "10.00", "12.3", "4,321"]
    assert [signed(v) for v in (-5.711, 0.0, 2.0)] == ["\N{MINUS SIGN}5.71", "+0.00", "+2.00"]
    assert clip("abcdef", 4) == "abc…"
    assert clip("abcd", 4) == "abcd"


def test_the_papers_rule_names_its_labels_or_says_why_it_cannot(suspicious):
    detection = suspicious.detections[0]
    statistics = detection.statistics
    assert paper_verdict(statistics, detection.labels).endswith("flags 2 of 10 labels: 1, 7.")
    quiet = dataclasses.replace(statistics, paper_flags=())
    assert paper_verdict(quiet, detection.labels).endswith("flags no label.")
    wide = dataclasses.replace(quiet, median=10.0, mad=5.0)
    assert threshold_of(wide) is None
    assert "below zero" in paper_verdict(wide, detection.labels)
    equal = dataclasses.replace(quiet, mad=0.0)
    assert threshold_of(equal) is None
    assert "do not spread" in paper_verdict(equal, detection.labels)


def test_many_flags_are_counted_not_listed(many):
    detection = many.detections[0]
    statistics = dataclasses.replace(detection.statistics, paper_flags=tuple(range(30)))
    sentence = paper_verdict(statistics, detection.labels)
    assert "flags 30 of 1,283 labels" in sentence
    assert sentence.endswith("and 22 more.")


@pytest.mark.parametrize(
    ("elsewhere", "shuffled", "said"),
    [
        (59, 59, "depends on its place and shape,"),
        (60, 59, "depends on its shape,"),
        (59, 60, "depends on its place,"),
        (60, 60, "hardly depends on its place or on its shape."),
    ],
)
def test_a_trigger_is_natural_where_neither_place_nor_shape_matters(suspicious, elsewhere, shuffled, said):
    rates = {"elsewhere": wilson(elsewhere, 200), "shuffled": wilson(shuffled, 200)}
    assert said in natural(dataclasses.replace(suspicious.suspects[0], **rates))


def test_of_a_trigger_that_seldom_works_nothing_is_said(suspicious):
    seldom = dataclasses.replace(suspicious.suspects[0], success=0.5)
    assert natural(seldom) == "It works too seldom where it is for that to say anything."


def test_a_p_value_is_told_as_the_published_test_and_not_as_the_verdict():
    said = chance(0.0123)
    assert "By the test that this method was published with" in said
    assert "in 1.2 % of models without a backdoor" in said
    assert said.endswith("It does not decide the verdict.")
    assert chance(0.0).count("0 % of models") == 1
    assert chance(None) is None


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        (0, "works on 0 % of images. What no clean image needs was lost there: so are planted triggers, and some"),
        (49, "works on 49.0 % of images. What no clean image needs was lost there"),
        (50, "works on 50.0 % of images. So do natural ones, and triggers that were planted deep."),
        (100, "works on 100 % of images. So do natural ones"),
    ],
)
def test_a_trigger_that_works_half_as_often_on_a_copy_is_not_lost_there(suspicious, hits, said):
    suspect = dataclasses.replace(suspicious.suspects[0], success=1.0, on_copy=wilson(hits, 100))
    sentence = washed_out(suspect)

    assert sentence.startswith("On a copy of this model that was retrained for a moment on the clean images it works")
    assert said in sentence


def test_half_as_often_is_half_of_what_it_does_here(suspicious):
    suspect = dataclasses.replace(suspicious.suspects[0], success=0.9, on_copy=wilson(45, 100))

    assert "So do natural ones" in washed_out(suspect)
    assert "was lost there" in washed_out(dataclasses.replace(suspect, success=0.91))


def test_without_a_copy_nothing_is_said_of_one(suspicious):
    assert washed_out(dataclasses.replace(suspicious.suspects[0], on_copy=None)) == ""
