"""Every kind of record that has a report, in every form."""

import inspect
import subprocess
import sys

import pytest

from mantrap import records
from mantrap.errors import UsageError
from mantrap.records import AuditRecord, CleanseRecord, GridRecord, Rate
from mantrap.report import FORMS, render, render_html, render_text
from tests import attacked

WITHOUT = {"coverage", "grid_piece", "guard_card", "null", "nulls", "zoo_manifest", "zoo_model"}
"""Kinds of records that nobody is shown: they lie inside other files, or are kept for other work."""


def test_every_kind_of_record_has_a_text_or_is_known_to_have_no_report():
    classes = [kind for _, kind in inspect.getmembers(records, inspect.isclass) if issubclass(kind, records.Record)]
    whole = {kind.kind_name() for kind in classes if kind.kind_name()}
    shown = {kind.kind_name() for kind in FORMS}

    assert shown | WITHOUT == whole
    assert not shown & WITHOUT
    assert len(shown) == len(FORMS)
    assert all("text" in forms for forms in FORMS.values())


def test_each_form_takes_a_record_of_its_kind_and_no_two_are_the_same():
    made = [make for forms in FORMS.values() for make in forms.values()]

    assert len({*made}) == len(made)
    for kind, forms in FORMS.items():
        for make in forms.values():
            (taken,) = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
            assert taken.annotation is kind


def test_every_format_renders_every_record_the_same_twice(every):
    for record in every.values():
        for form in ("text", "html", "json"):
            assert render(record, form) == render(record, form)
        assert render(record, "text") == render_text(record)
        assert render(record, "html") == render_html(record)


def test_json_comes_back_equal(every):
    for record in (*every.values(), attacked.measured(), attacked.implanted(), attacked.card()):
        assert type(record).from_json(render(record, "json")) == record


def test_a_form_that_a_record_does_not_have_is_refused_with_those_that_it_has(suspicious):
    for record, form, message in (
        (suspicious, "csv", "expected text or html or json of a record of the kind audit, got csv"),
        (attacked.implanted(), "html", "expected text or json of a record of the kind implant, got html"),
        (Rate(hits=1, total=1, value=1.0, low=0.2, high=1.0), "text", "expected json of a record"),
    ):
        with pytest.raises(UsageError, match=message):
            render(record, form)


def test_only_a_grid_is_a_table():
    assert [kind for kind, forms in FORMS.items() if "csv" in forms] == [GridRecord]
    assert {"text", "html"} == FORMS[AuditRecord].keys() == FORMS[CleanseRecord].keys()


def test_a_report_needs_no_torch():
    code = "import sys, mantrap.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
