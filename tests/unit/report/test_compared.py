"""Two audits side by side, as a record, as text and as a page."""

import base64
import dataclasses
import hashlib
import re

import pytest

from mantrap.records import ComparedRecord, Verdict
from mantrap.report import render_compared_html, render_compared_text
from mantrap.workflow.compare_audits import compare_audits
from mantrap.workflow.compare_grids import compare_grids
from tests import gridded

NAMES = ("runs/one", "runs/two")


def compared(first, second):
    return compare_audits(first, second, NAMES)


def other_scan(record, **changes):
    """The record, of whose first detection some fields are others."""
    detection = dataclasses.replace(record.detections[0], **changes)
    return dataclasses.replace(record, detections=(detection, *record.detections[1:]))


def facts(found):
    return [(change.about, change.what, change.first, change.second) for change in found.changes]


def unequal(found):
    return {setting.what for setting in found.settings if not setting.same}


def test_an_audit_beside_itself_has_the_same_findings(suspicious):
    found = compared(suspicious, suspicious)

    assert found.findings_same
    assert found.changes == ()
    assert unequal(found) == set()
    assert found.compared > 50
    assert found.headline == "The same model, the same images: SUSPICIOUS in both; nothing that was found differs."


def test_what_is_volatile_does_not_count(suspicious):
    volatile = dataclasses.replace(suspicious.volatile, started="another day", machine="another", stages=())

    assert compared(suspicious, dataclasses.replace(suspicious, volatile=volatile, cost=())).findings_same


def test_other_models_and_images_are_said_first(suspicious, inconclusive):
    model = dataclasses.replace(suspicious.model, sha256="cd" * 32)
    data = dataclasses.replace(suspicious.data, digest="other")
    found = compared(suspicious, dataclasses.replace(suspicious, model=model, data=data, verdict=Verdict.INCONCLUSIVE))

    assert found.headline.startswith("Another model, other images: SUSPICIOUS, then INCONCLUSIVE; 1 of ")
    assert unequal(found) == {"model", "images"}
    assert [setting.what for setting in found.settings][:2] == ["model", "images"]
    assert not compared(suspicious, inconclusive).findings_same


def test_seed_versions_detectors_and_command_that_differ_are_settings(suspicious):
    how = dataclasses.replace(
        suspicious.reproduction, seed=1, versions={"torch": "9"}, detectors=("last_layer",), command="mantrap audit x"
    )
    found = compared(suspicious, dataclasses.replace(suspicious, reproduction=how))

    assert found.findings_same
    assert unequal(found) == {"seed", "versions", "detectors", "command"}


def test_preprocessing_network_rule_and_references_are_settings_as_well(suspicious):
    model = dataclasses.replace(suspicious.model, mean=(0.1,), arch="resnet8")
    found = compared(suspicious, dataclasses.replace(suspicious, model=model, verdict_rule="another"))

    assert unequal(found) == {"preprocessing", "network", "rule"}


def test_the_p_value_and_every_label_are_compared(suspicious):
    old = suspicious.comparison
    standings = (dataclasses.replace(old.standings[0], chance=0.25), *old.standings[1:])
    found = compared(
        suspicious,
        dataclasses.replace(suspicious, comparison=dataclasses.replace(old, p_value=0.5, standings=standings)),
    )

    label = f"label {old.standings[0].label}"
    assert facts(found) == [
        ("audit", "p-value", f"{old.p_value:.4g}", "0.5"),
        (label, "chance by all traits", f"{old.standings[0].chance:.4g}", "0.25"),
    ]


def test_what_a_detector_measured_of_a_label_is_compared(suspicious):
    detection = suspicious.detections[1]
    trait = dataclasses.replace(detection.traits[0], value=123.0, chance=None)
    changed = dataclasses.replace(
        detection, traits=(trait, *detection.traits[1:]), score=None, p_value=0.5, suspects=(3,)
    )
    found = compared(suspicious, dataclasses.replace(suspicious, detections=(suspicious.detections[0], changed)))
    told = {(change.about, change.what): (change.first, change.second) for change in found.changes}
    who = detection.detector.partition("(")[0]

    assert told[f"label {trait.label}", f"{who}: {trait.trait}"][1] == "123"
    assert told[who, "suspects"] == ("none" if not detection.suspects else told[who, "suspects"][0], "3")
    assert told[who, "its own p-value"][1] == "0.5"


def test_norm_and_success_of_a_label_are_compared_and_success_with_its_interval(suspicious):
    entry = suspicious.detections[0].labels[0]
    changed = dataclasses.replace(entry, norm=entry.norm + 1, success=0.0)
    found = compared(suspicious, other_scan(suspicious, labels=(changed, *suspicious.detections[0].labels[1:])))

    assert [change.what.partition(": ")[2] for change in found.changes] == ["norm", "success"]
    success = found.changes[1]
    assert success.difference == pytest.approx(-entry.success)
    assert success.sure
    assert success.second.startswith("0.00 % (0.00 to ")


def test_suspects_checks_and_what_bars_the_all_clear_are_compared(suspicious):
    check = dataclasses.replace(suspicious.checks[0], message="97 % of 400 images.")
    found = compared(
        suspicious,
        dataclasses.replace(suspicious, suspects=(), barring=("Too few.",), checks=(check, *suspicious.checks[1:])),
    )
    told = {(change.about, change.what): (change.first, change.second) for change in found.changes}

    assert told["audit", "labels with a trigger"] == ("7", "none")
    assert told["audit", "what bars the all-clear"] == ("nothing", "Too few.")
    assert told["check", "clean accuracy"][1] == "passed: 97 % of 400 images."
    assert told["label 7", "its trigger elsewhere"][1] == ""


def test_shift_and_pair_are_compared(moved, suspicious):
    found = {(change.about, change.what) for change in compared(moved, suspicious).changes}
    shift = dataclasses.replace(moved.shift, by=moved.shift.by + 1)

    assert ("every class to another", "success") in found
    assert [change.what for change in compared(moved, dataclasses.replace(moved, shift=shift)).changes] == [
        "classes further on"
    ]


def test_audits_of_quite_different_models_can_be_compared(suspicious, no_evidence, hostile, many):
    for other in (no_evidence, hostile, many):
        assert not compared(suspicious, other).findings_same


def test_the_text_says_what_differs_by_what_it_is_about(suspicious):
    how = dataclasses.replace(suspicious.reproduction, seed=5)
    text = render_compared_text(compared(suspicious, dataclasses.replace(suspicious, reproduction=how, suspects=())))

    assert text.startswith(
        "DIFFERENT FINDINGS  runs/one  runs/two\nThe same model, the same images: SUSPICIOUS in both;"
    )
    assert "\n  same: model, images, network, preprocessing, detectors, references, command, rule, versions\n" in text
    assert "\n  another seed:\n    0\n    5\n" in text
    assert "\naudit\n  labels with a trigger: 7 -> none\n" in text
    assert re.search(r"\n  its trigger elsewhere: .* -> nothing", text)


def test_the_text_of_equal_findings_is_short(suspicious):
    text = render_compared_text(compared(suspicious, suspicious))

    assert text.startswith("THE SAME FINDINGS  ")
    assert len(text.splitlines()) == 5


@pytest.fixture(scope="module")
def grids():
    first = gridded.record()
    cells = (*first.cells[:6], dataclasses.replace(first.cells[6], **gridded.repaired(45)), *first.cells[9:])
    return compare_grids(first, dataclasses.replace(first, cells=cells), NAMES)


def test_the_page_shows_differences_with_their_intervals_and_what_one_has_alone(grids):
    page = render_compared_html(grids)
    text = render_compared_text(grids)
    sign = "+80.0 points (+"

    assert "<h1>Different findings</h1>" in page
    assert '<header class="verdict inconclusive">' in page
    assert f"<strong>{sign}" in page
    assert sign in text
    assert "Only in runs/one" in page
    assert "Only in runs/one\n  " in text
    assert "Only in runs/two" not in page + text


def test_an_area_stands_without_points():
    first = gridded.record()
    screened = dataclasses.replace(first.cells[9].screened, area=gridded.area_under([9, 8], [1, 2]))
    cells = (*first.cells[:9], dataclasses.replace(first.cells[9], screened=screened), *first.cells[10:])
    text = render_compared_text(compare_grids(first, dataclasses.replace(first, cells=cells), NAMES))

    assert re.search(r"area: 0\.944 .* -> 1\.000 .*, \+0\.056$", text, re.MULTILINE)


def test_a_page_of_equal_findings_says_so(suspicious):
    page = render_compared_html(compared(suspicious, suspicious))

    assert "<h1>The same findings</h1>" in page
    assert "What this means for you" not in page
    assert '<main class="page">' in page
    assert '<header class="verdict no-evidence">' in page
    assert "Nothing that was found differs." in page


def test_hostile_names_stay_text(hostile, suspicious, grids):
    found = compared(hostile, suspicious)
    pages = render_compared_html(found) + render_compared_html(grids)

    assert "<script" not in pages
    assert "<b>signs" not in pages
    assert "\u202e" not in pages + render_compared_text(found) + render_compared_text(grids)
    assert "\x1b" not in render_compared_text(found)


def test_the_page_loads_nothing_and_its_style_is_the_one_that_is_allowed(grids):
    page = render_compared_html(grids)
    style = page.partition("<style>")[2].partition("</style>")[0]

    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_it_is_rendered_the_same_when_it_is_read_back(grids):
    again = ComparedRecord.from_json(grids.to_json())

    assert render_compared_html(again) == render_compared_html(grids)
    assert render_compared_text(again) == render_compared_text(grids)
