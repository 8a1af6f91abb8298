"""What detectors measured without a search, and all of it together, on the page and in the terminal."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from mantrap.records import AuditRecord, DetectionRecord, TraitRecord
from mantrap.report import render_html, render_text
from mantrap.report.rows import trait_rows, traits_of

NONE = "\N{EN DASH}"


def measured(trait: str, label: int, value: float, chance: float | None, name: str = "") -> TraitRecord:
    """What a trait says of a label, which is called by its number where no name is given."""
    return TraitRecord(trait=trait, label=label, class_name=name or str(label), value=value, chance=chance)


def weights(*traits: TraitRecord) -> DetectionRecord:
    """What a detector that searches nothing measured."""
    return DetectionRecord(
        detector="last_layer", score=None, suspects=(), labels=(), statistics=None, notes=("A note.",), traits=traits
    )


@pytest.fixture
def five() -> DetectionRecord:
    """Five labels and two traits; of some labels one is missing, and of some no chance is known."""
    return weights(
        measured("row_mean", 3, 0.11, 0.5),
        measured("row_mean", 0, 0.12, 0.75),
        measured("row_mean", 1, 0.13, 0.004),
        measured("row_mean", 4, -2.5, None),
        measured("row_norm", 0, 1.21, 0.02),
        measured("row_norm", 1, 1.22, 0.9),
        measured("row_norm", 2, 1.23, 0.5),
    )


def with_only(record: AuditRecord, detection: DetectionRecord) -> AuditRecord:
    """An audit by this detector alone, which accuses nobody."""
    return dataclasses.replace(record, detections=(detection,), labels=(), suspects=(), comparison=None)


def table_of(html: str, kind: str = "labels") -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the one table of a kind."""
    (table,) = re.findall(rf'<table class="{kind}">(.*?)</table>', html, re.DOTALL)
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)
    lines = re.findall(r"<tr[^>]*>(<th scope=\"row\">.*?)</tr>", table)
    return heads, [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in lines]


def test_the_label_with_the_smallest_chance_of_any_trait_comes_first(five):
    rows = trait_rows(five)
    assert [row.label for row in rows] == [1, 0, 2, 3, 4]
    assert [row.least for row in rows] == [0.004, 0.02, 0.5, 0.5, 1.0]


def test_a_row_has_a_cell_for_each_trait_in_the_order_of_the_detector(five):
    assert traits_of(five) == ("row_mean", "row_norm")
    assert {row.label: [c and c.value for c in row.cells] for row in trait_rows(five)} == {
        0: [0.12, 1.21],
        1: [0.13, 1.22],
        2: [None, 1.23],
        3: [0.11, None],
        4: [-2.5, None],
    }


def test_the_page_has_a_table_of_the_traits_with_dashes_for_what_is_missing(suspicious, five):
    heads, rows = table_of(render_html(with_only(suspicious, five)))
    assert heads == ["Label", "Mean weight", "Chance", "Length", "Chance"]
    assert rows == [
        ["1", "0.13", "0.4 %", "1.22", "90.0 %"],
        ["0", "0.12", "75.0 %", "1.21", "2.0 %"],
        ["2", NONE, NONE, "1.23", "50.0 %"],
        ["3", "0.11", "50.0 %", NONE, NONE],
        ["4", "-2.50", NONE, NONE, NONE],
    ]


def test_the_page_says_what_the_traits_are(suspicious, five, outline):
    text = outline(render_html(with_only(suspicious, five))).text
    assert "Mean weight: the mean of the label's weights in the last layer" in text
    assert "Length: the Euclidean length of the label's weights in the last layer less the usual ones." in text
    assert "Margin: " not in text
    assert "A note." in text


def test_a_suspect_is_marked_in_the_table_of_traits(suspicious, five):
    def rows_for(label: int) -> list[str]:
        suspect = dataclasses.replace(suspicious.suspects[0], label=label, class_name=str(label))
        html = render_html(dataclasses.replace(with_only(suspicious, five), suspects=(suspect,)))
        return re.findall(r'<tr class="suspected"><th scope="row">(.*?)</th>', html)

    assert rows_for(2) == ['2 <span class="tag">suspect</span>']
    assert rows_for(9) == []


@pytest.mark.parametrize("count", [20, 21])
def test_a_long_table_of_traits_is_folded_away(suspicious, count):
    detection = weights(*(measured("margin", i, 1.0 + i, 0.5) for i in range(count)))
    html = render_html(with_only(suspicious, detection))
    assert ("<summary>Table of all 21 labels</summary>" in html) == (count == 21)
    assert html.count("<details>") == html.count("</details>") == (count == 21)
    assert len(table_of(html)[1]) == count


def test_a_search_shows_its_norms_and_no_table_of_traits(suspicious):
    record = with_only(suspicious, suspicious.detections[0])
    assert record.detections[0].traits
    assert "Chance" not in table_of(render_html(record))[0]
    assert "Labels that stand out most" not in render_text(record)


@pytest.mark.parametrize("unit", ["L1 of the smallest mask that worked, in pixels", "L2 of the faintest change"])
def test_page_and_terminal_say_what_a_norm_is(suspicious, outline, unit):
    searched = suspicious.detections[0]
    record = with_only(suspicious, dataclasses.replace(searched, unit=unit))
    assert f"Norm: {unit}" in outline(render_html(record)).text
    assert f"{searched.detector}, norm: {unit}" in " ".join(render_text(record).split())


def test_the_terminal_lists_the_traits_with_dashes_for_what_is_missing(suspicious, five):
    shown = render_text(with_only(suspicious, five))
    shown = shown[shown.index("Labels that stand out most") : shown.index("A note.")]
    assert [re.split(r" {2,}", line.strip()) for line in shown.splitlines()[1:-1]] == [
        ["last_layer"],
        ["label", "mean weight", "chance", "length", "chance"],
        ["1", "0.13", "0.4 %", "1.22", "90.0 %"],
        ["0", "0.12", "75.0 %", "1.21", "2.0 %"],
        ["2", "-", "-", "1.23", "50.0 %"],
        ["3", "0.11", "50.0 %", "-", "-"],
        ["4", "-2.50", "-", "-", "-"],
    ]


def test_the_terminal_lists_the_ten_that_stand_out_most(suspicious):
    detection = weights(*(measured("margin", i, 100.0 + i, 1 - i / 40) for i in range(25)))
    shown = render_text(with_only(suspicious, detection))
    assert re.findall(r"^  (\d+) +1\d\d\.0 ", shown, re.MULTILINE) == [str(i) for i in range(24, 14, -1)]


def test_a_published_p_value_is_told_on_the_page_and_in_the_terminal(suspicious, five, outline):
    for p_value, times in ((0.0123, 1), (None, 0)):
        record = with_only(suspicious, dataclasses.replace(five, p_value=p_value))
        for text in (outline(render_html(record)).text, " ".join(render_text(record).split())):
            assert text.count("a label stands out as far in 1.2 % of models without a backdoor.") == times


def test_all_labels_together_have_a_short_table(suspicious, outline):
    html = render_html(suspicious)
    heads, rows = table_of(html, "labels together")
    assert heads == ["Label", "Chance"]
    assert rows == [["7", "&lt;0.1 %"], ["0", "25.0 %"], ["1", "37.5 %"], ["2", "50.0 %"], ["3", "62.5 %"]]
    assert '<tr class="suspected"><th scope="row">7</th>' in html
    assert f"All together, compared with {suspicious.comparison.null}." in outline(html).text


def test_without_a_comparison_there_is_no_table_of_all_together(suspicious, outline):
    html = render_html(dataclasses.replace(suspicious, comparison=None))
    assert "labels together" not in html
    assert "All together" not in outline(html).text


def test_hostile_names_in_the_tables_stay_text(hostile, outline):
    record = dataclasses.replace(hostile, labels=(), suspects=(), detections=hostile.detections[1:])
    assert not record.detections[0].labels
    page = outline(render_html(record))
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert page.text.count("0 <img src=x onerror=alert(1)>") == 2
    assert "1 </title></style></svg><script>alert(2)</script>" in page.text
    shown = render_text(record)
    assert "6 {{ 7 * 7 }} {% raw %} [bold]{}[/]" in shown
    assert "2 stopgnp.exe" in shown
    assert "3 [31mred[0m next" in shown


def test_a_hostile_name_of_a_trait_or_of_what_was_compared_with_stays_text(suspicious, outline):
    script = "<script>alert(1)</script>"
    record = with_only(suspicious, weights(measured(script, 0, 1.0, 0.5)))
    record = dataclasses.replace(record, comparison=dataclasses.replace(suspicious.comparison, null=script))
    page = outline(render_html(record))
    assert page.all("script") == []
    assert page.text.count(script) == 2
    assert script in render_text(record)


@settings(max_examples=40)
@given(text=st.text(st.characters(codec=None), min_size=1, max_size=300).filter(lambda t: t != "row_mean"))
def test_no_name_of_a_class_or_a_trait_reaches_beyond_its_cell(inconclusive, outline, text):
    def named(name: str) -> AuditRecord:
        traits = (measured(name, 0, 1.0, 0.5, name), measured("row_mean", 1, 2.0, 0.25, name))
        together = dataclasses.replace(
            inconclusive.comparison,
            null=name,
            standings=tuple(dataclasses.replace(s, class_name=name) for s in inconclusive.comparison.standings),
        )
        return dataclasses.replace(with_only(inconclusive, weights(*traits)), comparison=together)

    plain, strange = outline(render_html(named("plain"))), outline(render_html(named(text)))
    assert strange.elements == plain.elements
    shown = render_text(named(text))
    assert max(cell_len(line) for line in shown.split("\n")) <= 100
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
