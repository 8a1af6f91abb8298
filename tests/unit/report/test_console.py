import dataclasses
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from mantrap.records import Verdict
from mantrap.report import render_text
from mantrap.report.words import PROVISIONAL, VERDICT_WORDS


def flat(text: str) -> str:
    """Text without its line breaks."""
    return " ".join(text.split())


def test_the_verdict_comes_first_then_why(every):
    for record in every.values():
        text = render_text(dataclasses.replace(record, provisional=True))
        words = VERDICT_WORDS[record.verdict]
        assert text.startswith(words.title.upper())
        order = [
            flat(text).index(t) for t in (words.meaning, PROVISIONAL, flat(record.reasons[0]), "Smallest triggers")
        ]
        assert order == sorted(order)
        assert flat(record.blind_spots[0]) in flat(text)


def test_a_suspect_is_named_with_norm_index_and_success(suspicious):
    text = render_text(suspicious)
    assert "Suspect: label 7" in text
    assert "12.4 pixels' worth of change, anomaly index +5.71, flagged by the paper's own rule" in text
    assert "of 390 held-out images of other classes go there" in text
    assert re.search(r"^  7 +12\.4 +\+5\.71 +98\.7 % +suspect$", text, re.MULTILINE)
    assert re.search(r"^  1 +48\.9 +\+2\.29 +99\.2 % +flagged$", text, re.MULTILINE)
    assert "flags 2 of 10 labels: 1, 7." in text
    assert "median 73.3, 5.93 times the smallest" in text


def test_only_the_smallest_norms_are_listed_smallest_first(no_evidence):
    text = render_text(no_evidence)
    rows = re.findall(r"^  .*?(\d+\.\d) +[+-]\d\.\d\d ", text, re.MULTILINE)
    assert [float(r) for r in rows] == sorted(round(e.norm, 1) for e in no_evidence.labels)[:10]


def test_censored_labels_and_unpassed_checks_are_said(inconclusive):
    text = render_text(inconclusive)
    assert "censored, no trigger met the success threshold: 1 dog" in text
    assert "images: 400 images are few" in text
    assert "clean accuracy" not in text


def test_a_refused_audit_can_be_printed(suspicious):
    bare = dataclasses.replace(suspicious, verdict=Verdict.REFUSED, suspects=(), detections=(), labels=(), checks=())
    text = render_text(bare)
    assert text.startswith("REFUSED")
    assert PROVISIONAL not in flat(text)
    assert "Smallest triggers" not in text


def test_lines_are_at_most_a_hundred_columns_and_plain(every):
    for record in every.values():
        text = render_text(record)
        assert max(cell_len(line) for line in text.splitlines()) <= 100
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


def test_markup_of_the_terminal_library_is_text(hostile):
    assert "{{ 7 * 7 }} {% raw %} [bold]{}[/]" in render_text(hostile)


def test_colour_is_asked_for_and_changes_no_word(suspicious, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    plain, coloured = render_text(suspicious), render_text(suspicious, colour=True)
    assert "\x1b[" not in plain
    assert "\x1b[1;31mSUSPICIOUS" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


@settings(max_examples=40)
@given(text=st.text(st.characters(codec=None), max_size=300))
def test_no_name_breaks_the_width_or_reaches_the_terminal_as_control(inconclusive, text):
    named = dataclasses.replace(
        inconclusive,
        headline=text,
        reasons=(text,),
        model=dataclasses.replace(inconclusive.model, file_name=text),
        detections=tuple(
            dataclasses.replace(d, labels=tuple(dataclasses.replace(e, class_name=text) for e in d.labels))
            for d in inconclusive.detections
        ),
    )
    shown = render_text(named)
    assert max(cell_len(line) for line in shown.split("\n")) <= 100
    assert "\x1b" not in shown
    shown.encode()
