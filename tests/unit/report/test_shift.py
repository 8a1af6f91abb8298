"""What a report shows of a patch that sends every class to another one."""

import dataclasses
import json
import re

import pytest
from rich.cells import cell_len

from mantrap.records import AuditRecord, Verdict
from mantrap.report import render_fragment, render_html, render_text
from tests.shown import coverage, shift_of

DIGITS = [str(i) for i in range(10)]


@pytest.fixture
def quiet(no_evidence):
    """An all-clear beside which a shift was looked at and not noticed."""
    return dataclasses.replace(no_evidence, shift=shift_of(no_evidence.model.class_names, noticed=False))


def section(html, outline):
    """The part of the page about the shift."""
    (found,) = re.findall(r'<section[^>]*aria-labelledby="shift">.*?</section>', html, re.DOTALL)
    return found, outline(found)


class TestPage:
    def test_a_shift_that_is_noticed_is_marked_and_stands_open_before_the_labels(self, moved, outline):
        html = render_html(moved)
        found, parsed = section(html, outline)

        assert found.startswith('<section class="suspect"')
        assert "<details>" not in found
        assert parsed.text.startswith("Suspect Every class to another one")
        assert html.index('id="reasons"') < html.index('id="shift"') < html.index('id="labels"')

    def test_one_that_is_not_is_folded_and_stands_after_them(self, quiet, outline):
        html = render_html(quiet)
        found, parsed = section(html, outline)
        shown, folded = found.split("<details>")

        assert not found.startswith('<section class="suspect"')
        assert "Suspect" not in parsed.text
        assert html.index('id="labels"') < html.index('id="shift"')
        assert (shown.count("<img"), shown.count("<table"), folded.count("<table")) == (0, 0, 1)
        assert folded.count("<img") == found.count("<img") > 0

    def test_its_numbers_are_there(self, moved, outline):
        _, parsed = section(render_html(moved), outline)

        for said in (
            "Here it is likeliest to be the next.",
            "99.0 % of held-out images go there with the patch below: 99 of 100, 95 % interval 94.6 to 99.8 %.",
            "87.3 % is how likely the model finds that",
            "0.2 % is the chance that a model without a backdoor looks as suspicious by it.",
            "all_to_all_patch(steps=30)",
            "9.0 pixels' worth of change",
        ):
            assert said in parsed.text

    def test_without_a_chance_there_is_a_dash(self, moved, outline):
        unknown = dataclasses.replace(moved, shift=dataclasses.replace(moved.shift, chance=None, noticed=False))
        _, parsed = section(render_html(unknown), outline)

        assert "\N{EN DASH} is the chance that a model" in parsed.text

    def test_every_class_has_a_row_with_where_it_goes_and_how_often(self, moved, outline):
        found, _ = section(render_html(moved), outline)
        rows = re.findall(r'<tr><th scope="row">(\d)</th><td>(\d)</td><td class="number">(.*?)</td>', found)

        assert rows == [(str(i), str((i + 1) % 10), "90.0 %" if i == 0 else "100 %") for i in range(10)]

    def test_of_very_many_classes_the_first_are_shown_and_the_rest_counted(self, many, outline):
        record = dataclasses.replace(many, shift=shift_of(many.model.class_names))
        found, parsed = section(render_html(record), outline)

        assert found.count('<th scope="row">') == 20
        assert "The first 20 of 1,283 classes; the record holds them all." in parsed.text

    def test_its_pictures_are_shown_once_with_their_words(self, moved, outline):
        _, parsed = section(render_html(moved), outline)
        shift = moved.shift
        pictures = [shift.trigger, shift.mask, shift.pattern]
        pictures += [picture for e in shift.examples for picture in (e.before, e.after)]

        assert [(img["src"], img["alt"]) for img in parsed.all("img")] == [
            (f"data:image/png;base64,{p.png}", p.alt) for p in pictures
        ]

    def test_a_detector_that_says_nothing_else_has_no_part_among_the_labels(self, moved):
        own = dataclasses.replace(moved.detections[1], detector=moved.shift.detector, traits=())
        heading = f"<h3><code>{own.detector}</code></h3>"
        silent, noted = (
            render_html(
                dataclasses.replace(moved, detections=(*moved.detections, dataclasses.replace(own, notes=notes)))
            )
            for notes in ((), ("Something else.",))
        )

        assert heading not in silent
        assert heading in noted


class TestConsole:
    def test_a_shift_that_is_noticed_is_a_suspect(self, moved):
        text = render_text(moved)

        assert "\nSuspect: every class to another one\n" in text
        assert "\n  to the next: 87.3 % likely (chance of that without a backdoor: 0.2 %)\n" in text
        assert (
            "\n  9.0 pixels' worth of change does it to 99.0 % of held-out images (95 % interval 94.6 to 99.8)\n"
            in text
        )
        assert "\n  found by all_to_all_patch(steps=30)\n" in text

    def test_one_that_is_not_is_none(self, quiet):
        text = render_text(quiet)

        assert "\nEvery class to another one\n" in text
        assert "Suspect" not in text

    def test_without_a_chance_none_is_said(self, moved):
        unknown = dataclasses.replace(moved, shift=dataclasses.replace(moved.shift, chance=None, noticed=False))

        assert "\n  to the next: 87.3 % likely\n" in render_text(unknown)


class TestHostileNames:
    @pytest.fixture
    def hostile_shift(self, hostile):
        attack = hostile.model.class_names[0]
        shift = dataclasses.replace(shift_of(hostile.model.class_names), to=attack, detector=attack, size=attack)
        return dataclasses.replace(hostile, shift=shift)

    def test_they_stay_text_on_the_page(self, hostile_shift, outline):
        html = render_html(hostile_shift)
        _, parsed = section(html, outline)
        plain = render_html(dataclasses.replace(hostile_shift, shift=shift_of(DIGITS)))

        assert parsed.text.count("<img src=x onerror=alert(1)>") >= 4
        assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in section(plain, outline)[1].elements]
        assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on")]
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
        assert outline(html).open == []

    def test_they_reach_no_terminal(self, hostile_shift):
        text = render_text(hostile_shift)

        assert max(cell_len(line) for line in text.splitlines()) <= 100
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


class TestOlderRecords:
    def test_one_from_before_shifts_and_coverage_were_known_is_read_and_shown(self, suspicious):
        written = json.loads(suspicious.to_json())
        older = AuditRecord.from_json(json.dumps({k: v for k, v in written.items() if k not in ("shift", "coverage")}))

        assert {"shift", "coverage"} <= set(written)
        assert older == suspicious
        for render in (render_html, render_text, render_fragment):
            assert render(older) == render(suspicious)
        for render in (render_html, render_text):
            assert "very class to another one" not in render(older)
            assert "What audits like this one find" not in render(older)

    def test_a_shift_comes_back_equal_from_json(self, moved):
        assert AuditRecord.from_json(moved.to_json()) == moved


class TestCoverage:
    def test_what_audits_find_is_a_row_for_each_kind_with_its_count_and_its_intervals(self, moved, outline):
        text = outline(render_html(moved)).text

        assert "Measured on 85 small networks for digits." in text
        assert "no backdoor 60 0 % 0.0 to 6.0 5.0 % 1.7 to 13.7" in text
        assert "a small patch 19 84.2 % 62.4 to 94.5 100 % 83.2 to 100.0" in text

    def test_a_terminal_shows_them_too(self, moved):
        text = " ".join(render_text(moved).split())

        assert "measured on 85 small networks for digits" in text
        assert "a small patch 19 84.2 % 62.4 to 94.5 100 %" in text

    def test_they_stand_beside_any_verdict(self, no_evidence, outline):
        assert no_evidence.verdict is Verdict.NO_EVIDENCE
        assert (
            "several targets 6 50.0 %"
            in outline(render_html(dataclasses.replace(no_evidence, coverage=coverage()))).text
        )
