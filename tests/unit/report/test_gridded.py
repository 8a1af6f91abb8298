"""What a grid's page, text and table show."""

import base64
import csv
import dataclasses
import hashlib
import re
from itertools import pairwise

import pytest

from mantrap.errors import RecordError
from mantrap.records import CellState, GridRecord
from mantrap.report import FORMS, render_grid_csv, render_grid_html, render_grid_text
from tests import gridded
from tests.gridded import ATTACK, DATA

PLAIN = str.maketrans("\N{EN DASH}\N{MINUS SIGN}", "--")


@pytest.fixture(scope="module")
def record():
    return gridded.record()


@pytest.fixture(scope="module")
def page(record):
    return render_grid_html(record)


@pytest.fixture(scope="module")
def rows(record):
    return list(csv.DictReader(render_grid_csv(record).splitlines()))


def section(page, title):
    """What stands between a heading and the next one, with each row of its table as words by cell."""
    part = re.search(rf"<h3 id=[^>]*>{title}</h3>(.*?)(<h3|<h2|</section>)", page, re.DOTALL)[1]
    rows = re.findall(r"<tr.*?</tr>", part.translate(PLAIN), re.DOTALL)
    words = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows)
    return [[" ".join(re.sub(r"<[^>]*>", " ", one).split()) for one in row] for row in words]


def test_the_page_says_how_far_the_grid_has_come(page):
    assert '<p class="headline">11 cells: 8 done, 1 untried, 1 failed, 1 not run</p>' in page


def test_at_a_glance_every_attack_meets_every_defence(page):
    assert section(page, "At a glance") == [
        ["Attack", "audit", "strip", "unlearning", "scan"],
        ["clean", "1 of 2 suspicious", "-", "-", "1 not run"],
        [
            ATTACK,
            "1 of 2 suspicious",
            "misses 26.2 %",
            "80.0 % to 10.0 % accuracy -1.0 1 untried",
            "catches 90.0 % 1 failed",
        ],
    ]


def test_models_stand_with_accuracy_and_the_backdoor_that_works_worst(page):
    table = section(page, "The models")

    assert table[1] == ["clean, seed 0", "90.0 % 82.6 to 94.5", "-", "-", "-"]
    assert table[3] == [f"{ATTACK}, seed 0", "90.0 % 82.6 to 94.5", "60.0 % 46.2 to 72.4", "2.0 % 0.4 to 10.5", "yes"]


def test_a_model_that_failed_is_shown_with_how(record):
    broken = gridded.model(
        ATTACK, 0, state=CellState.FAILED, failure="it broke", accuracy=None, measures=(), works=False
    )
    table = section(
        render_grid_html(dataclasses.replace(record, models=(*record.models[:2], broken, record.models[3]))),
        "The models",
    )

    assert table[3] == [f"{ATTACK}, seed 0", "failed: it broke"]


def test_detectors_have_verdict_p_value_first_label_and_area(page):
    table = section(page, "Detectors")

    assert table[0][1:6] == ["Verdict", "p-value", "Stands out most", "Target named", "AUROC"]
    assert table[1:5] == [
        ["audit against clean"],
        ["all 2", "1 of 2 suspicious 9.5 to 90.5 %", "0.001 to 0.8", "-", "-", "-", "-", "-"],
        ["seed 0", "no evidence", "0.8", "label 3", "-", "-", "1,034 / 200", "1,234.6"],
        ["seed 1", "suspicious", "0.001", "label 0", "-", "-", "1,034 / 200", "-"],
    ]
    assert table[5:8] == [
        [f"audit against {ATTACK}"],
        [
            "all 2",
            "1 of 2 suspicious 9.5 to 90.5 %",
            "2.5e-05 to 0.04",
            "2 of 2",
            "1 of 2",
            "0.944 0.448 to 0.997",
            "-",
            "-",
        ],
        ["seed 0", "suspicious", "2.5e-05", "label 1, the target", "yes", "-", "1,034 / 200", "-"],
    ]
    assert table[8][3:5] == ["label 2, the target", "no"]


def test_all_attacks_together_have_an_area_where_there_are_several(record):
    other = "blended"
    models = (*record.models, *(gridded.model(other, seed) for seed in (0, 1)))
    cells = (
        *record.cells,
        gridded.cell(other, "detector", "audit", 0, **gridded.detected(gridded.Verdict.SUSPICIOUS, 0.01)),
    )
    together = dataclasses.replace(record.areas[0], attack="", area=gridded.area_under([5, 6], [1, 2]))
    table = section(
        render_grid_html(dataclasses.replace(record, models=models, cells=cells, areas=(*record.areas, together))),
        "Detectors",
    )

    assert table[-2:] == [
        ["audit against all attacks"],
        [
            "all 3",
            "2 of 3 suspicious 20.8 to 93.9 %",
            "2.5e-05 to 0.04",
            "3 of 3",
            "2 of 3",
            "1.000 0.386 to 1.000",
            "-",
            "-",
        ],
    ]


def test_guards_show_the_backdoor_that_they_know_worst(page):
    table = section(page, "Guards")

    assert table[1:] == [
        [f"strip against {ATTACK}"],
        ["all 2", "5.0 % 5.0 to 5.0", "26.2 % 2.5 to 50.0", "0.944 0.944 to 0.944", "-", "-"],
        ["seed 0", "5.0 % 1.7 to 13.7", "50.0 % 35.2 to 64.8", "0.944 0.448 to 0.997", "1,034 / 200", "-"],
        ["seed 1", "5.0 % 1.7 to 13.7", "2.5 % 0.4 to 12.9", "0.944 0.448 to 0.997", "1,034 / 200", "-"],
    ]


def test_repairs_show_before_after_and_control_and_why_one_was_not_tried(page):
    table = section(page, "Repairs")

    assert table[0][1:8] == [
        *("Success before", "Success after", "Success, control"),
        *("Accuracy before", "Accuracy after", "Accuracy change", "Change, control"),
    ]
    assert [entry.partition(" %")[0].partition(" ")[0] for entry in table[3][1:6]] == [
        "80.0",
        "10.0",
        "70.0",
        "90.0",
        "89.0",
    ]
    assert table[3][6] == table[3][7]
    assert re.fullmatch(r"-1\.0 -\d\.\d to \+\d\.\d", table[3][6])
    assert table[2][0] == "1 done"
    assert table[4] == ["seed 1", "untried: nothing was recovered"]


def test_a_cell_that_failed_is_shown_as_failed_where_it_stands_and_above_all(page):
    table = section(page, "Screens")

    assert table[2:5] == [
        ["seed 0", "not run"],
        [f"scan against {ATTACK}"],
        ["1 done", "90.0 % 90.0 to 90.0", "2.0 % 2.0 to 2.0", "0.944 0.944 to 0.944", "-", "-"],
    ]
    assert table[5] == ["seed 0", "failed: expected &lt;i&gt;finite&lt;/i&gt;, got nan"]
    assert page.index("What failed") < page.index("At a glance")
    assert page.count('<tr class="suspected">') == 1


def test_without_a_failure_nothing_is_said_of_any(record):
    fine = tuple(cell for cell in record.cells if cell.state is not CellState.FAILED)

    assert "What failed" not in render_grid_html(dataclasses.replace(record, cells=fine))
    assert "Failed" not in render_grid_text(dataclasses.replace(record, cells=fine))


def test_one_seed_stands_alone_with_the_area_beside_it(record):
    alone = tuple(cell for cell in record.cells if cell.seed == 0)
    table = section(render_grid_html(dataclasses.replace(record, cells=alone)), "Detectors")

    assert [row[0] for row in table[1:]] == ["audit against clean", "seed 0", f"audit against {ATTACK}", "seed 0"]
    assert table[-1][5] == "0.944 0.448 to 0.997"


def test_the_text_says_the_same_at_a_glance(record):
    text = render_grid_text(record)

    assert text.startswith("BENCHMARK  11 cells: 8 done, 1 untried, 1 failed, 1 not run\n")
    assert "\n    unlearning: 80.0 % to 10.0 %, accuracy \N{MINUS SIGN}1.0, 1 untried\n" in text
    assert "\N{EN DASH}" not in text
    assert text.splitlines()[-1].endswith("scan/s0: expected <i>finite</i>, got nan")


def test_the_table_has_a_row_for_each_cell_with_every_figure_and_its_ends(record, rows):
    assert len(rows) == len(record.cells)
    assert (rows[2]["verdict"], rows[2]["p_value"], rows[2]["first"], rows[2]["targets"]) == (
        "SUSPICIOUS",
        "2.5e-05",
        "1",
        "1 2",
    )
    assert (rows[4]["false_negatives"], rows[4]["false_negatives_low"][:5], rows[4]["area"]) == (
        "0.5",
        "0.351",
        "0.944444",
    )
    repair = rows[6]
    assert (repair["success_before"], repair["success_after"], repair["control_success"]) == ("0.8", "0.1", "0.7")
    assert (repair["accuracy_change"], repair["accuracy_before"], repair["accuracy_after"]) == ("-0.01", "0.9", "0.89")
    assert (rows[7]["state"], rows[7]["said"]) == ("untried", "nothing was recovered")
    assert (rows[9]["caught"], rows[9]["spoilt"], rows[9]["verdict"]) == ("0.9", "0.02", "")
    assert (rows[0]["forward"], rows[0]["backward"], rows[0]["cpu_seconds"], rows[1]["cpu_seconds"]) == (
        "1034",
        "200",
        "1234.56",
        "",
    )
    assert (rows[3]["model_accuracy"], rows[3]["model_success"]) == ("0.91", "0.82")
    assert {row["data"] for row in rows} == {f"'{DATA}"}  # which no spreadsheet takes for a formula


def test_an_error_that_looks_like_a_formula_is_none(record):
    broken = dataclasses.replace(record.cells[8], failure="=1+1")
    rows = list(csv.DictReader(render_grid_csv(dataclasses.replace(record, cells=(broken,))).splitlines()))

    assert rows[0]["said"] == "'=1+1"


def test_every_column_of_a_figure_comes_with_its_ends(rows):
    names = [name for name in rows[0] if name.endswith(("_low", "_high"))]

    assert len(names) == 28
    assert all(first[:-4] == second[:-5] for first, second in list(pairwise(names))[::2])


def test_hostile_names_stay_text(page, record):
    assert "<b>signs" not in page
    assert "&lt;b&gt;signs" in page
    assert "\u202e" not in page + render_grid_text(record)


def test_the_page_loads_nothing_and_its_style_is_the_one_that_is_allowed(page):
    style = page.partition("<style>")[2].partition("</style>")[0]

    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_page_is_wide_from_its_head_to_its_foot(record):
    assert render_grid_html(record).count('="page wide"') == 3


def test_a_record_is_rendered_the_same_when_it_is_read_back(record):
    again = GridRecord.from_json(record.to_json())

    for render in FORMS[GridRecord].values():
        assert render(again) == render(record)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: dataclasses.replace(record, models=record.models[1:]),
        lambda record: dataclasses.replace(record, cells=(dataclasses.replace(record.cells[0], detected=None),)),
        lambda record: dataclasses.replace(record, cells=(dataclasses.replace(record.cells[4], guarded=None),)),
        lambda record: dataclasses.replace(record, cells=(dataclasses.replace(record.cells[6], repaired=None),)),
        lambda record: dataclasses.replace(record, cells=(dataclasses.replace(record.cells[9], screened=None),)),
    ],
    ids=["model", "detector", "guard", "repair", "screen"],
)
def test_a_damaged_record_is_refused(record, damage):
    with pytest.raises(RecordError, match="expected a model for every cell, and a result for every one that is done"):
        GridRecord.from_json(damage(record).to_json())
