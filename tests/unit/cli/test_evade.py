"""``mantrap evade``: it measures, and false security is a finding."""

import shlex

import numpy as np
import pytest

from mantrap.records import EvadeRecord
from mantrap.report import render_evade_html, render_evade_text
from tests import stage
from tests.cleansing import stable

FGSM = ["--attack", "fgsm"]


@pytest.fixture
def evade(mantrap, place):
    """Run ``mantrap evade`` with the fewest words."""
    pixels, labels = (array.numpy() for array in stage.pixels(40))
    np.savez(place / "right.npz", x_test=pixels[:, 0], y_test=labels)
    np.savez(place / "bare.npz", x_test=pixels[:, 0])

    def run(*words, images="right.npz", who=FGSM):
        return mantrap("evade", "clean.safetensors", "--images", images, "--arch", stage.ARCH, *who, *words)

    return run


def test_stdout_is_the_record_alone_and_the_folder_has_it_with_a_report(evade, tmp_path):
    code, out, err = evade("--json", "--out", tmp_path, "--eps", "0.1,0.8")
    record = EvadeRecord.from_json(out)

    assert (code, err) == (0, "")
    assert [budget.eps for budget in record.evasions[0].budgets] == [0.1, 0.8]
    assert record.evasions[0].budgets[1].accuracy.hits < record.accuracy.hits
    assert (tmp_path / "evade.json").read_text() == out
    assert (tmp_path / "report.html").read_text() == render_evade_html(record)


def test_without_a_folder_it_writes_nothing_and_says_what_it_found(evade, place):
    before = sorted(place.iterdir())
    code, out, _ = evade("--eps", "0.1")

    assert code == 0
    assert out.startswith("MEASURED  clean.safetensors\n")
    assert "  0.1: right on" in out
    assert sorted(place.iterdir()) == before


def test_its_command_does_the_same_again(evade, mantrap, tmp_path):
    _, first, _ = evade("--json", "--eps", "0.2", "--seed", "3", "--aim", "random", "--behind", "blur")
    words = shlex.split(EvadeRecord.from_json(first).reproduction.command)

    assert words[:3] == ["mantrap", "evade", "clean.safetensors"]
    _, again, _ = mantrap(*words[1:], "--json")
    assert stable(again) == stable(first)


def test_several_evasions_are_asked_in_order_each_once(evade):
    _, out, _ = evade(
        "--json", "--eps", "0.2", who=["--attack", "pgd(steps=2)", "--attack", "fgsm", "--attack", "fgsm"]
    )

    assert [one.evasion for one in EvadeRecord.from_json(out).evasions] == ["pgd(steps=2)", "fgsm"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--eps", "1.5"], 2, "expected eps of at most 1"),
        (["--eps", "0"], 2, "expected eps above 0"),
        (["--eps", "a lot"], 2, "expected --eps with numbers"),
        (["--behind", "nothing"], 2, "expected a transformation out of"),
        (["--attack", "nothing"], 2, "expected an evasion out of"),
        (["--images", "bare.npz"], 4, "expected labels for"),
    ],
)
def test_bad_input_is_one_line(mantrap, evade, words, code, says):
    images = words[1] if words[0] == "--images" else "right.npz"
    got, out, err = evade(*(words if words[0] != "--images" else ()), images=images)

    assert (got, out) == (code, "")
    assert err.count("\n") == 1
    assert says in err


def test_what_is_printed_is_what_report_renders(evade):
    _, out, _ = evade("--eps", "0.2")
    _, record, _ = evade("--eps", "0.2", "--json")

    assert out == f"{render_evade_text(EvadeRecord.from_json(record))}\n"
