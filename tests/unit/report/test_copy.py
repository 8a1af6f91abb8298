"""What a trigger does on a copy of the model is said beside it, on the page and on the terminal."""

import dataclasses

import pytest

from mantrap.ops.intervals import wilson
from mantrap.report import render_html, render_text
from mantrap.report.words import washed_out
from tests.shown import Outline


def page(record):
    return Outline(render_html(record)).text


def terminal(record):
    return " ".join(render_text(record).split())


def beside_a_copy(record, hits):
    return dataclasses.replace(
        record, suspects=tuple(dataclasses.replace(s, on_copy=wilson(hits, 390)) for s in record.suspects)
    )


both = pytest.mark.parametrize("shown", [page, terminal], ids=lambda one: one.__name__)


@both
@pytest.mark.parametrize("hits", [3, 380], ids=["lost", "kept"])
def test_it_is_said_of_every_suspect_whether_it_is_lost_or_not(suspicious, shown, hits):
    record = beside_a_copy(suspicious, hits)
    text, sentences = shown(record), [washed_out(suspect) for suspect in record.suspects]

    assert sentences
    assert all(text.count(sentence) == sentences.count(sentence) for sentence in sentences)
    assert ("was lost there" in text) is (hits == 3)


@both
def test_nothing_is_said_where_there_is_no_copy(suspicious, shown):
    assert all(suspect.on_copy is None for suspect in suspicious.suspects)
    assert "copy of this model" not in shown(suspicious)


@both
def test_it_stands_after_whether_the_trigger_looks_natural(suspicious, shown):
    text = shown(beside_a_copy(suspicious, 3))

    assert 0 < text.index("depends on its") < text.index("On a copy of this model") < text.index("was lost there")
