"""In which order a report shows what was found: what is rarest without a backdoor comes first."""

import dataclasses

import pytest

from mantrap.records import ComparisonRecord, StandingRecord
from mantrap.report import render_html, render_text
from mantrap.report.rows import findings
from tests.shown import pair_of, shift_of


def found(record, labels, shift, pair):
    """A record with suspects of all kinds, of these chances."""
    names = record.model.class_names
    standings = (StandingRecord(label=record.suspects[0].label, class_name="", chance=labels),)
    return dataclasses.replace(
        record,
        shift=dataclasses.replace(shift_of(names), noticed=True),
        pair=dataclasses.replace(pair_of(names), chance=pair),
        comparison=ComparisonRecord(
            p_value=min(labels, shift, pair), level=1.0, shift=shift, pair=pair, null="none", standings=standings
        ),
    )


@pytest.mark.parametrize(
    ("chances", "order"),
    [
        ((0.001, 0.01, 0.05), ("labels", "shift", "pair")),
        ((0.05, 0.01, 0.001), ("pair", "shift", "labels")),
        ((0.01, 0.05, 0.001), ("pair", "labels", "shift")),
        ((0.01, 0.01, 0.01), ("labels", "shift", "pair")),
    ],
)
def test_what_is_rarest_comes_first_on_the_page_and_in_the_terminal(suspicious, chances, order):
    record = found(suspicious, *chances)
    page, text = render_html(record), render_text(record)
    on_page = {"labels": 'id="suspect-1"', "shift": 'id="shift"', "pair": 'id="pair"'}
    in_text = {
        "labels": "Suspect: label",
        "shift": "Suspect: every class to another one",
        "pair": "Suspect: one class for another",
    }

    assert findings(record) == order
    assert sorted(order, key=lambda kind: page.index(on_page[kind])) == list(order)
    assert sorted(order, key=lambda kind: text.index(in_text[kind])) == list(order)


def test_what_is_not_noticed_is_no_finding(suspicious, no_evidence):
    names = no_evidence.model.class_names
    quiet = dataclasses.replace(no_evidence, pair=pair_of(names, noticed=False))

    assert findings(quiet) == ()
    assert findings(suspicious) == ("labels",)


def test_suspects_of_an_audit_that_compared_nothing_come_first(suspicious):
    alone = dataclasses.replace(found(suspicious, 0.5, 0.5, 1e-6), comparison=None)

    assert findings(alone)[0] == "labels"
