"""Labels that were given up early in reports: told with their steps, and never drawn or listed as if nothing worked."""

import dataclasses
import re

import pytest

from mantrap.records.audit import GIVEN_UP
from mantrap.report import render_html, render_text
from mantrap.report.chart import draw_norms

EARLY = range(500, 1000)


@pytest.fixture(scope="module")
def halved(many):
    """The audit of many labels, of which five hundred were given up after ten steps."""
    labels = tuple(
        dataclasses.replace(e, norm=None, index=None, censored=True, stopped=GIVEN_UP, steps=10)
        if e.label in EARLY
        else e
        for e in many.labels
    )
    detection = dataclasses.replace(many.detections[0], labels=labels, population=tuple(range(64)))
    return dataclasses.replace(many, labels=labels, detections=(detection, *many.detections[1:]))


def test_a_record_knows_them(halved):
    assert [e.label for e in halved.labels if e.given_up] == [*EARLY]
    assert type(halved).from_json(halved.to_json()) == halved


def test_the_drawing_leaves_them_out_and_says_how_many(halved, many):
    chart, whole = draw_norms(halved.detections[0]), draw_norms(many.detections[0])

    assert "500 more were given up early, for others looked likelier, and are not drawn." in chart.description
    assert "5 of the labels are censored" in chart.description
    assert "given up" not in whole.description
    assert chart.title == "Smallest trigger for each of 783 labels"
    assert chart.tail.count == whole.tail.count - 500
    assert [bar.name for bar in chart.bars if bar.kind == "censored"] == [
        bar.name for bar in whole.bars if bar.kind == "censored"
    ]


def test_the_table_shows_after_how_many_steps(halved):
    page = render_html(halved)

    assert page.count("<td>given up</td>") == 500
    assert page.count('<td class="number">censored</td>') == 5
    rows = re.findall(r"<tr><th(?:(?!</tr>).)*<td>given up</td></tr>", page)
    assert all('<td class="number">10</td><td>given up</td>' in row for row in rows)
    assert [f">{label} person {label}<" in row for label, row in zip(EARLY, rows, strict=True)] == [True] * 500


def test_the_terminal_does_not_call_them_censored(halved, many):
    text, whole = render_text(halved), render_text(many)
    line = next(one for one in text.splitlines() if "censored, no trigger" in one)

    assert "person 500" not in text
    assert line == next(one for one in whole.splitlines() if "censored, no trigger" in one)
    assert "Smallest triggers of 783 of 1,283 labels" in text
    assert "Smallest triggers of 1,283 labels" in whole
