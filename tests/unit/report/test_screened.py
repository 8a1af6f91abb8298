"""What a screening's page and text show."""

import base64
import dataclasses
import hashlib
import re

import pytest

from mantrap.records import CleanSetRecord, ScreenRecord, Verdict
from mantrap.report import FORMS, render_screen_html, render_screen_text
from mantrap.report.screened import SCREEN_WORDS, suspected_first
from mantrap.screen import Scan, SpectralSignatures
from mantrap.workflow.plan import Source
from mantrap.workflow.screen import screen
from mantrap.workflow.screening import Screening
from tests import screening

HOSTILE = "<b>bold</b>\u202e"


@pytest.fixture(scope="module")
def record():
    suspects, _ = screening.infected(20)
    return screen(
        Screening(
            model=screening.model(),
            source=Source("m.safetensors", "ab" * 32),
            suspects=suspects.renamed(("zero", "one", HOSTILE, "three", "four")),
            screens=(Scan(), SpectralSignatures()),
            command="mantrap screen x.npz",
        )
    )


@pytest.fixture(scope="module")
def page(record):
    return render_screen_html(record)


def test_the_verdict_stands_first_in_its_words(record, page):
    words = SCREEN_WORDS[Verdict.SUSPICIOUS]

    assert f"<h1>{words.title}</h1>" in page
    assert '<header class="verdict suspicious">' in page
    assert words.meaning in page
    assert render_screen_text(record).startswith("SUSPICIOUS  poisoned points\nOf 320 images 20 look like poison.")


def test_without_a_finding_it_says_that_this_proves_nothing(record):
    quiet = dataclasses.replace(record, verdict=Verdict.NO_EVIDENCE)

    assert '<header class="verdict no-evidence">' in render_screen_html(quiet)
    assert "does not prove that the set is clean" in render_screen_html(quiet)
    assert render_screen_text(quiet).startswith("NO EVIDENCE FOUND  ")


def test_every_image_of_the_record_is_shown_with_label_answer_and_mark(record, page):
    sheet = page.partition('<div class="sheet">')[2].partition("</section>")[0]

    assert sheet.count("<figure>") == len(record.worst) == 48
    assert sheet.count('<span class="tag">Flagged</span>') == 20
    assert sheet.count("not flagged") == 28
    for one in record.worst:
        assert f"base64,{one.picture.png}" in sheet
        assert f"image {one.index}<br>" in sheet


def test_an_answer_that_is_not_the_label_stands_out(record):
    worst = record.worst[0]
    other = dataclasses.replace(worst.answer, label=(worst.label + 1) % 5, class_name="other")
    odd = dataclasses.replace(record, worst=(dataclasses.replace(worst, answer=other),))

    assert "fooled" not in render_screen_html(dataclasses.replace(record, worst=(worst,))).partition("<body>")[2]
    assert "fooled" in render_screen_html(odd).partition("<body>")[2]


def test_labels_come_with_the_most_flagged_first_and_what_is_against_them(record, page):
    rows = re.findall(
        r"<tr(.*?)</tr>", page.partition("flagged images by label")[2].partition("</table>")[0], re.DOTALL
    )

    assert [one.label for one in suspected_first(record)] == [2, 0, 1, 3, 4]
    assert len(rows) == 6
    assert 'class="suspected"' in rows[1]
    assert "25.0 %" in rows[1]
    assert all(row.count("<td") == 4 for row in rows[1:])
    assert sum('class="suspected"' in row for row in rows) == 1


def test_evidence_without_end_is_said_so(record):
    first = dataclasses.replace(record.labels[0], evidence={"scan": None})

    assert "without end" in render_screen_html(dataclasses.replace(record, labels=(first, *record.labels[1:])))


def test_the_text_lists_screens_labels_and_the_first_images(record):
    text = render_screen_text(record)

    assert "  - scan flags 20 images" in text
    assert "  - spectral_signatures flags no image. It ranks images and flags none" in text
    assert "  2 <b>bold</b>: 20 of 80 (25.0 %)" in text
    assert len(re.findall(r"^  \d+ \(2 <b>bold</b>\): flagged; scan ", text, re.MULTILINE)) == 10


def test_the_text_says_which_images_are_not_flagged(record):
    quiet = dataclasses.replace(record, worst=record.worst[-1:])

    assert "): not flagged; scan " in render_screen_text(quiet)
    assert "): flagged; scan " not in render_screen_text(quiet)


def test_hostile_names_stay_text(page, record):
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    assert "\u202e" not in page + render_screen_text(record)


def test_clean_images_are_named_where_there_were_some(record, page):
    beside = dataclasses.replace(record, clean=CleanSetRecord(name="trusted", digest="cd" * 32, images=1234))

    assert "Clean images" not in page
    assert "trusted: 1,234" in render_screen_html(beside)


def test_the_page_loads_nothing_and_its_style_is_the_one_that_is_allowed(page):
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"'sha256-{digest}'" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_a_record_is_rendered_the_same_when_it_is_read_back(record):
    again = ScreenRecord.from_json(record.to_json())

    for render in FORMS[ScreenRecord].values():
        assert render(again) == render(record)
