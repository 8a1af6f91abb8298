import dataclasses
import itertools
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantrap.report.chart import MOST_ROWS, ROWS_OF_MANY, draw_norms
from mantrap.report.page import template

SVG = "{http://www.w3.org/2000/svg}"


def svg(chart):
    """The drawing as the templates make it, parsed as XML."""
    return ET.fromstring(str(template("chart.svg").module.chart_svg(chart)))  # noqa: S314


def test_few_labels_get_a_row_each_smallest_first(suspicious):
    chart = draw_norms(suspicious.detections[0], {7})
    assert [bar.name for bar in chart.bars] == ["7", "1", "9", "4", "0", "6", "3", "2", "5", "8"]
    assert chart.bars[0].kind == "suspect"
    assert (chart.bars[0].value, chart.bars[0].word) == ("12.4", "suspect")
    assert (chart.bars[1].value, chart.bars[1].word) == ("48.9", "flagged")
    assert {bar.kind for bar in chart.bars[2:]} == {"plain"}
    assert chart.tail is None


def test_widths_are_in_proportion_to_norms_and_lines_share_their_scale(suspicious):
    detection = suspicious.detections[0]
    chart = draw_norms(detection, {7})
    scale = chart.plot / 90.2
    assert chart.bars[0].width == pytest.approx(12.37 * scale)
    assert chart.bars[-1].width == pytest.approx(chart.plot)
    median, threshold = chart.lines
    assert median.x == pytest.approx(chart.gutter + detection.statistics.median * scale)
    below = detection.statistics.median - 2 * detection.statistics.mad
    assert threshold.x == pytest.approx(chart.gutter + below * scale)
    assert "52.0" in threshold.text


def test_a_threshold_below_zero_is_not_drawn(suspicious):
    detection = suspicious.detections[0]
    wide = dataclasses.replace(detection, statistics=dataclasses.replace(detection.statistics, mad=40.0))
    assert [line.kind for line in draw_norms(wide).lines] == ["median"]
    assert draw_norms(dataclasses.replace(detection, statistics=None)).lines == ()


def test_censored_labels_come_last_and_show_no_norm(inconclusive):
    chart = draw_norms(inconclusive.detections[0])
    assert [bar.kind for bar in chart.bars] == ["plain", "censored"]
    assert chart.bars[1].value == ""
    assert "censored" in chart.bars[1].word
    assert chart.foot <= chart.bars[1].y


def test_a_scan_of_censored_labels_only_can_be_drawn(inconclusive):
    labels = tuple(dataclasses.replace(e, norm=None, censored=True) for e in inconclusive.labels)
    chart = draw_norms(dataclasses.replace(inconclusive.detections[0], labels=labels, statistics=None))
    assert [bar.kind for bar in chart.bars] == ["censored", "censored"]
    svg(chart)


def test_many_labels_become_rows_and_one_silhouette(many):
    chart = draw_norms(many.detections[0], {401})
    measured = [bar for bar in chart.bars if bar.kind != "censored"]
    assert len(measured) == ROWS_OF_MANY
    assert measured[0].name == "401 person 401"
    assert chart.tail is not None
    assert chart.tail.count + len(measured) + 5 == 1283
    assert chart.tail.path.count("H") == chart.tail.count + 1
    assert chart.height < 1200
    assert "2 more" in [bar.name for bar in chart.bars]


def test_a_suspect_keeps_its_row_wherever_it_stands(many):
    largest = max(many.labels, key=lambda entry: entry.norm or 0.0)
    chart = draw_norms(many.detections[0], {largest.label})
    assert [bar.name for bar in chart.bars if bar.kind == "suspect"] == [f"{largest.label} person {largest.label}"]
    assert len([bar for bar in chart.bars if bar.kind != "censored"]) == ROWS_OF_MANY + 1


@pytest.mark.parametrize("count", [2, 3, MOST_ROWS, MOST_ROWS + 1, 200])
def test_nothing_overlaps_from_two_labels_to_many(many, count):
    chart = draw_norms(dataclasses.replace(many.detections[0], labels=many.labels[:count]))
    tops = sorted(bar.y for bar in chart.bars)
    assert all(b - a >= 24 for a, b in itertools.pairwise(tops))
    assert all(0 <= bar.width <= chart.plot + 1e-9 for bar in chart.bars)
    assert chart.gutter + chart.plot < 100
    assert tops[-1] + 24 <= chart.height


def test_the_drawing_is_xml_with_a_title_and_a_description(every):
    for record in every.values():
        root = svg(draw_norms(record.detections[0], {s.label for s in record.suspects}))
        assert root.get("role") == "img"
        assert root.findtext(f"{SVG}title")
        assert "median" in root.findtext(f"{SVG}desc")
        assert root.findtext(f"{SVG}title") in root.get("aria-label")


def test_each_row_of_the_drawing_has_a_bar_a_name_and_a_tip(suspicious):
    root = svg(draw_norms(suspicious.detections[0], {7}))
    groups = root.findall(f"{SVG}g")
    assert len(groups) == 10
    assert groups[0].findtext(f"{SVG}title") == "Label 7: norm 12.4, anomaly index +5.71"
    assert float(groups[0].find(f"{SVG}rect").get("width").rstrip("%")) > 5


@given(name=st.text(st.characters(codec=None), max_size=30))
def test_any_name_leaves_the_drawing_well_formed(inconclusive, name):
    labels = tuple(dataclasses.replace(e, class_name=name) for e in inconclusive.labels)
    root = svg(draw_norms(dataclasses.replace(inconclusive.detections[0], labels=labels)))
    assert len(root.findall(f"{SVG}g")) == 2
