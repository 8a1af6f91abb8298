"""``import mantrap`` costs nothing, and has what it says it has."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mantrap
from mantrap.records import Rate


def test_importing_the_package_imports_neither_torch_nor_numpy():
    program = "import sys, mantrap; print(sorted({'torch', 'numpy', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_every_name_resolves_and_is_declared_for_type_checkers():
    tree = ast.parse(Path(mantrap.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.asname: node.module for node in guarded.body for alias in node.names}

    assert declared == mantrap._WHERE
    assert set(dir(mantrap)) == set(mantrap.__all__) == {"__version__", *declared}
    for name in mantrap.__all__:
        assert getattr(mantrap, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'audti'"):
        _ = mantrap.audti


def test_a_record_shows_itself_in_a_notebook(monkeypatch):
    seen = []
    monkeypatch.setattr("mantrap.report.render_fragment", lambda record: seen.append(record) or "<b>verdict</b>")
    record = object.__new__(mantrap.AuditRecord)

    assert record._repr_html_() == "<b>verdict</b>"
    assert seen == [record]


def test_other_records_have_no_view():
    assert Rate(hits=1, total=2, value=0.5, low=0.1, high=0.9)._repr_html_() is None
