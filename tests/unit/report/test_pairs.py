"""What a report shows of a patch that sends one class to another one."""

import dataclasses
import json
import re

import pytest
from rich.cells import cell_len

from mantrap.records import AuditRecord
from mantrap.report import render_fragment, render_html, render_text
from tests.shown import pair_of

HIDDEN = r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"


@pytest.fixture
def taken(no_evidence):
    """A record beside which a pair is noticed."""
    return dataclasses.replace(no_evidence, pair=pair_of(no_evidence.model.class_names))


@pytest.fixture
def quiet(no_evidence):
    """An all-clear beside which pairs were scanned and none noticed."""
    return dataclasses.replace(no_evidence, pair=pair_of(no_evidence.model.class_names, noticed=False))


@pytest.fixture
def workless(no_evidence):
    """One of which no patch worked."""
    return dataclasses.replace(no_evidence, pair=pair_of(no_evidence.model.class_names, works=False))


def section(html, outline):
    """The part of the page about the pair."""
    (found,) = re.findall(r'<section[^>]*aria-labelledby="pair">.*?</section>', html, re.DOTALL)
    return found, outline(found)


class TestPage:
    def test_a_pair_that_is_noticed_is_marked_and_stands_open_before_the_labels(self, taken, outline):
        html = render_html(taken)
        found, parsed = section(html, outline)

        assert found.startswith('<section class="suspect"')
        assert "<details>" not in found
        assert parsed.text.startswith("Suspect One class for another")
        assert html.index('id="reasons"') < html.index('id="pair"') < html.index('id="labels"')

    def test_one_that_is_not_is_folded_and_stands_after_them(self, quiet, outline):
        html = render_html(quiet)
        found, parsed = section(html, outline)
        before, _, folded = found.partition("<details>")

        assert "Suspect" not in parsed.text
        assert 'class="suspect"' not in found
        assert html.index('id="labels"') < html.index('id="pair"')
        assert [(part.count("<img"), part.count("<table")) for part in (before, folded)] == [(0, 0), (5, 1)]

    def test_its_numbers_are_there(self, taken, outline):
        _, parsed = section(render_html(taken), outline)

        for said in (
            "Of 1,806 pairs of classes the one that is easier to take for one another",
            "87.5 % of held-out images of that class go there with the patch below: 14 of 16, 95 % interval",
            "Of images of other classes: 1.5 %.",
            "4.3 times smaller is that patch than the two classes and the copy lead to expect: 9.0 pixels' worth",
            "0.3 % is the chance that a model without a backdoor looks as suspicious by its pairs.",
            "Found by pair_scan(steps=30)",
        ):
            assert said in parsed.text

    def test_every_pair_that_stands_out_has_a_row(self, taken, outline):
        found, parsed = section(render_html(taken), outline)
        rows = re.findall(r'<td class="number">(.*?)</td><td class="number">(.*?)</td>', found)

        assert [(easier, outline(chance).text) for easier, chance in rows] == [("4.26", "0.1 %"), ("1.17", "87.1 %")]
        assert len(parsed.all("tr")) == 3

    def test_its_pictures_are_shown_once_with_their_words(self, taken, outline):
        _, parsed = section(render_html(taken), outline)
        pair = taken.pair
        pictures = [pair.trigger, pair.mask, pair.pattern, pair.examples[0].before, pair.examples[0].after]

        assert [(img["src"], img["alt"]) for img in parsed.all("img")] == [
            (f"data:image/png;base64,{p.png}", p.alt) for p in pictures
        ]

    def test_where_no_patch_worked_there_is_a_dash_and_no_picture(self, workless, outline):
        found, parsed = section(render_html(workless), outline)

        assert "\N{EN DASH} of held-out images of that class go there with the patch below." in parsed.text
        assert "Of images of other classes" not in parsed.text
        assert "None" not in parsed.text
        assert "<img" not in found
        assert outline(render_html(workless)).open == []

    def test_a_detector_that_says_nothing_else_has_no_part_among_the_labels(self, taken):
        own = dataclasses.replace(taken.detections[1], detector=taken.pair.detector, traits=())
        heading = f"<h3><code>{own.detector}</code></h3>"
        silent, noted = (
            render_html(
                dataclasses.replace(taken, detections=(*taken.detections, dataclasses.replace(own, notes=notes)))
            )
            for notes in ((), ("Something else.",))
        )

        assert heading not in silent
        assert heading in noted


class TestConsole:
    def test_a_pair_that_is_noticed_is_a_suspect(self, taken):
        text = render_text(taken)
        flat = " ".join(text.split())

        assert "\nSuspect: one class for another\n" in text
        assert "by a patch 4.3 times smaller than a copy of the model leads to expect" in flat
        assert "(chance of that without a backdoor: 0.3 %)" in flat
        assert "9.0 pixels' worth of change does it to 87.5 % of held-out images of that class (95 % interval" in flat
        assert "and 1.5 % of those of other classes" in flat
        assert "found by pair_scan(steps=30), of 1,806 pairs" in flat

    def test_it_says_which_class_is_taken_for_which(self, taken):
        names = [f"class-{i}" for i in range(len(taken.model.class_names))]
        text = render_text(dataclasses.replace(taken, pair=pair_of(names)))

        assert re.search(r"\n  2\b.*class-2.* is taken for 0\b.*class-0", text)

    def test_one_that_is_not_is_none(self, quiet):
        text = render_text(quiet)

        assert "\nOne class for another\n" in text
        assert "Suspect" not in text

    def test_where_no_patch_worked_none_is_said_to_do_anything(self, workless):
        text = render_text(workless)

        assert "does it to" not in text
        assert "None" not in text
        assert "of 1,806 pairs" in text


class TestHostileNames:
    @pytest.fixture
    def hostile_pair(self, hostile):
        attack = hostile.model.class_names[0]
        pair = dataclasses.replace(pair_of(hostile.model.class_names), detector=attack, size=attack)
        return dataclasses.replace(hostile, pair=pair)

    def test_they_stay_text_on_the_page(self, hostile_pair, outline):
        html = render_html(hostile_pair)
        _, parsed = section(html, outline)
        plain = render_html(dataclasses.replace(hostile_pair, pair=pair_of([str(i) for i in range(10)])))

        assert parsed.text.count("<img src=x onerror=alert(1)>") >= 4
        assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in section(plain, outline)[1].elements]
        assert not [name for _, attrs in parsed.elements for name in attrs if name.startswith("on")]
        assert not re.search(HIDDEN, html)
        assert outline(html).open == []

    def test_they_reach_no_terminal(self, hostile_pair):
        text = render_text(hostile_pair)

        assert max(cell_len(line) for line in text.splitlines()) <= 100
        assert not re.search(HIDDEN, text)


class TestOlderRecords:
    def test_one_from_before_pairs_were_known_is_read_and_shown(self, suspicious):
        written = json.loads(suspicious.to_json())
        older = AuditRecord.from_json(json.dumps({k: v for k, v in written.items() if k != "pair"}))

        assert "pair" in written
        assert older == suspicious
        for render in (render_html, render_text, render_fragment):
            assert render(older) == render(suspicious)
            assert "ne class for another" not in render(older)

    @pytest.mark.parametrize("works", [True, False])
    def test_a_pair_comes_back_equal_from_json(self, no_evidence, works):
        record = dataclasses.replace(no_evidence, pair=pair_of(no_evidence.model.class_names, works=works))

        assert AuditRecord.from_json(record.to_json()) == record
