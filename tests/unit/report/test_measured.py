"""What the page and the lines on a measured attack show: effect, looks, neurons."""

import re

import pytest

from mantrap.ops.intervals import wilson
from mantrap.records import KeptPoint, Likeness, Look, NeuronLikeness
from mantrap.report import render_measure_html, render_measure_text
from tests import attacked
from tests.shown import picture
from tests.unit.report.conftest import HOSTILE

LOOKS = (
    "The planted trigger changes 16 pixels, the recovered one 9; of those that either changes, both change 30.0 %, and "
    "their middles are 1.50 pixels apart."
)
NEURONS = (
    "the top 5 of 512 that fc2 reads say 0.50 to clean images, 25.5 to the recovered trigger, 40.2 to the planted one; "
    "60.0 % are the top of both"
)


WORKS = "patch(size=4), all_to_one(target=7): works on 98.00 % (93.00 to 99.45, 100 images)"


def look(size, pixels, value):
    shown = picture(lambda d: d.rectangle((2, 2, 4, 4), fill=(value, value, value)), f"Look of {size}")
    return Look(size=size, pixels=pixels, middle=(3.0, 4.0), colour=(value / 255,), change=shown, example=shown)


def likeness(name="stop", *, neurons=True):
    kept = tuple(KeptPoint(neurons=n, planted=wilson(10 - n, 10), recovered=wilson(n, 10)) for n in (1, 2, 4))
    return Likeness(
        label=7,
        class_name=name,
        kind="patch",
        trigger="patch(size=4)",
        planted_success=wilson(97, 100),
        recovered_success=wilson(89, 100),
        planted=look("", 16, 255),
        recovered=look("12.3 pixels' worth of change", 9, 102),
        clean=picture(lambda _: None, "Clean"),
        overlap=0.3,
        apart=1.5,
        neurons=NeuronLikeness(
            layer="fc2", neurons=512, top=5, clean=0.5, planted=40.25, recovered=25.5, overlap=0.6, kept=kept
        )
        if neurons
        else None,
    )


def record(*likenesses, recovered=1):
    return attacked.measured(*likenesses, recovered=recovered)


def cells(html, heading):
    table = html[html.index(heading) :]
    table = table[: table.index("</tbody>")]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)][1:]


class TestPage:
    def test_what_was_planted_stands_beside_a_clean_model(self):
        assert cells(render_measure_html(record()), "What was planted") == [
            ["Accuracy", "95.0 %", "93.5 to 96.2", "\u2013"],
            ["patch(size=4), all_to_one(target=7) works on", "98.0 %", "93.0 to 99.4", "2.0 %"],
        ]

    def test_effect_size_and_colour_of_both(self):
        assert cells(render_measure_html(record(likeness())), ">Effect<") == [
            ["Planted", "97.0 %", "91.5 to 99.0", "16", "1.00"],
            ["Recovered", "89.0 %", "81.4 to 93.7", "9", "0.40"],
        ]

    def test_looks_and_neurons_in_words(self):
        html = render_measure_html(record(likeness())).replace("&#39;", "'")
        for said in (
            LOOKS,
            "What the audit found: 12.3 pixels' worth of change.",
            "The 5 of 512 neurons read by <code>fc2</code>",
            "60.0 % are the same",
            '<span class="big">0.50</span>',
            '<span class="big">25.5</span> with the recovered trigger',
            '<span class="big">40.2</span> with the planted one',
        ):
            assert said in html

    def test_the_curve_of_kept_neurons_goes_through_what_was_measured(self):
        drawn = re.findall(r'<polyline class="(\w+)" points="([^"]*)"', render_measure_html(record(likeness())))
        assert drawn == [
            ("bad", "0.0,100.0 500.0,200.0 1000.0,400.0"),
            ("other", "0.0,900.0 500.0,800.0 1000.0,600.0"),
        ]

    def test_without_neurons_there_is_no_curve(self):
        html = render_measure_html(record(likeness(neurons=False)))
        assert "<polyline" not in html
        assert "Neurons" not in html

    @pytest.mark.parametrize(("recovered", "said"), [(0, False), (2, True)])
    def test_that_nothing_recovered_leads_where_something_was_planted_is_said(self, recovered, said):
        html = render_measure_html(record(recovered=recovered))
        assert ("No planted backdoor leads to a label" in html) == said

    def test_the_headline_counts_the_planted_labels_that_were_recovered(self):
        works = "The model is right on 95.0 % of images; what was planted works on 98.0 %."
        among = "are among those for which triggers were recovered."

        def headline(*given, **more):
            return re.search(r'<p class="headline">(.*?)</p>', render_measure_html(record(*given, **more)))[1]

        assert headline(recovered=0) == works
        assert headline(recovered=2) == f"{works} Of planted labels 0 of 1 {among}"
        assert headline(likeness(), likeness(), recovered=2) == f"{works} Of planted labels 1 of 1 {among}"

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_names_stay_text(self, name, outline):
        page = render_measure_html(record(likeness(name)))
        plain = render_measure_html(record(likeness("stop")))
        assert [tag for tag, _ in outline(page).elements] == [tag for tag, _ in outline(plain).elements]


class TestText:
    def test_it_says_the_same(self):
        lines = render_measure_text(record(likeness(), likeness(neurons=False))).splitlines()

        assert lines[:3] == [
            "m.safetensors: badnets(target=7)",
            "Accuracy on digits: 95.00 % (93.47 to 96.19, 1000 images)",
            f"{WORKS}; on the clean model 2.00 %",
        ]
        assert lines[3:7] == [
            "The patch recovered for label 7 stop, beside patch(size=4):",
            "  effect: works on 89.0 %, the planted one on 97.0 %",
            f"  looks: {LOOKS}",
            f"  neurons: {NEURONS}",
        ]
        assert len(lines) == 10

    def test_notes_say_on_which_images_where_something_was_compared(self):
        notes = ("On images that were held out.",)

        assert render_measure_text(attacked.measured(likeness(), notes=notes)).splitlines()[3] == notes[0]
        assert notes[0] not in render_measure_text(attacked.measured(notes=notes))

    @pytest.mark.parametrize(("recovered", "said"), [(0, False), (2, True)])
    def test_that_nothing_recovered_leads_where_something_was_planted_is_said(self, recovered, said):
        last = render_measure_text(record(recovered=recovered)).splitlines()[-1]

        assert (last == "No planted backdoor leads to a label for which the audit recovered a trigger.") == said

    def test_it_holds_nothing_that_changes_how_text_looks(self):
        name = "st\x1b[31mop\n"
        text = render_measure_text(attacked.measured(likeness(name), attack=name, test_name=name))

        assert "\x1b" not in text
        assert text.splitlines()[3].startswith("The patch recovered for label 7 st[31mop, ")
        assert len(text.splitlines()) == 7
