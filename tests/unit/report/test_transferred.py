"""What a transfer's page and text show."""

import re

import pytest

from mantrap.evade import Fgsm
from mantrap.records import TransferRecord
from mantrap.report import render_transfer_html, render_transfer_text
from mantrap.workflow.plan import Source
from mantrap.workflow.transfer import transfer
from mantrap.workflow.transferring import Transferring
from tests.evading import TWO

HOSTILE = "<b>bold</b>\u202e.safetensors"


@pytest.fixture(scope="module")
def record():
    sources = (Source("one.safetensors", "ab" * 32), Source(HOSTILE, "cd" * 32), Source("three.safetensors", "ef" * 32))
    return transfer(
        Transferring(
            models=tuple((source, TWO.model()) for source in sources),
            images=TWO.images(20, "transfer"),
            evasion=Fgsm(eps=0.23),
        )
    )


@pytest.fixture(scope="module")
def page(record):
    return render_transfer_html(record)


def test_what_was_found_stands_first(record, page):
    assert "<h1>Transfer</h1>" in page
    assert f'<p class="headline">{record.headline}</p>' in page
    assert f"of the {record.right} of {record.images} images that all models get right" in page


def test_every_table_has_a_row_and_a_column_for_each_model(record, page):
    tables = re.findall(r'aria-label="(Table of [^"]+)".*?<tbody>(.*?)</tbody>', page, re.DOTALL)

    assert [name for name, _ in tables] == [
        "Table of models",
        "Table of what models get wrong",
        "Table of what models get wrong with noise",
        "Table of the same mistakes",
        "Table of cosines of gradients",
        "Cost by stage",
    ][: len(tables)]
    for _, rows in tables[1:5]:
        assert rows.count("<tr>") == 3
        assert rows.count("<td") == 3 * 4


def test_shares_stand_in_the_page_as_they_are_in_the_record(record, page):
    wrong = record.rows[0].shown[1].wrong

    assert 0 < wrong.value < 1
    assert (
        f'{100 * wrong.value:.1f} % <span class="ends">{100 * wrong.low:.1f} to {100 * wrong.high:.1f}</span>' in page
    )
    assert page.count("1.00</td>") == 9


def test_hostile_names_stay_text(page, record):
    assert "<b>" not in page
    assert "\u202e" not in page + render_transfer_text(record)
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_the_text_has_the_three_tables(record):
    lines = render_transfer_text(record).splitlines()
    wrong = record.rows[0].shown[1].wrong.value

    assert lines[:2] == ["TRANSFER  transfer", record.headline]
    assert sum(re.fullmatch(r"  [123]( +[\d.]+ %){3}(  \d\.\d{3})?", line) is not None for line in lines) == 6
    assert sum(re.fullmatch(r"  [123]( +1\.00){3}", line) is not None for line in lines) == 3
    assert any(line.startswith("  1 ") and f"{100 * wrong:.1f} %" in line for line in lines)


def test_the_record_comes_back_and_renders_to_the_same(record, page):
    again = TransferRecord.from_json(record.to_json())

    assert again == record
    assert render_transfer_html(again) == page
