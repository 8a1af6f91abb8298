import re

from mantrap.report import render_fragment
from mantrap.report.words import VERDICT_WORDS


def test_a_fragment_has_the_verdict_the_reasons_the_chart_and_the_triggers(every, outline):
    for record in every.values():
        fragment = outline(render_fragment(record))
        words = VERDICT_WORDS[record.verdict]
        for text in (words.title, words.meaning, record.reasons[0]):
            assert text in fragment.text
        shown = [record.shift] if record.shift and record.shift.noticed else []
        assert [img["src"] for img in fragment.all("img")] == [
            f"data:image/png;base64,{one.trigger.png}" for one in (*shown, *record.suspects)
        ]
        assert any("chart" in (svg.get("class") or "") for svg in fragment.all("svg"))


def test_a_trigger_of_a_fragment_has_its_size_and_its_success(suspicious, outline):
    assert "Label 7 12.4 pixels' worth of change, 98.7 % success" in outline(render_fragment(suspicious)).text


def test_a_fragment_fits_into_a_page_of_somebody_else(every, outline):
    for record in every.values():
        html = render_fragment(record)
        fragment = outline(html)
        assert fragment.elements[0][0] == "div"
        assert fragment.open == []
        tags = {tag for tag, _ in fragment.elements}
        assert not tags & {"script", "html", "head", "body", "link", "meta", "h1", "h2"}
        assert not [a for _, attrs in fragment.elements for a in attrs if a.startswith("on") or a == "id"]
        assert all(attrs.get(n, "data:").startswith("data:") for _, attrs in fragment.elements for n in ("src", "href"))


def test_its_style_sheet_touches_nothing_outside_it(suspicious):
    style = re.search(r"<style>(.*?)</style>", render_fragment(suspicious), re.DOTALL).group(1)
    selectors = [s.strip() for group in re.findall(r"([^{}]+)\{", style) for s in group.split(",")]
    assert len(selectors) > 20
    assert all(s.startswith(".mantrap-fragment") for s in selectors)


def test_a_hostile_name_stays_text_in_a_fragment(hostile, outline):
    fragment = outline(render_fragment(hostile))
    assert "<img src=x onerror=alert(1)>" in fragment.text
    assert len(fragment.all("img")) == 1
