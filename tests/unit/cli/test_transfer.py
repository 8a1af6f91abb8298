"""``mantrap transfer``: what it prints and writes, and what it refuses."""

import shlex

import numpy as np
import pytest

from mantrap.records import TransferRecord
from mantrap.report import render_transfer_html, render_transfer_text
from tests import stage
from tests.cleansing import stable

TWICE = ("clean.safetensors", "clean.safetensors")


@pytest.fixture
def transfer(mantrap, place):
    """Run ``mantrap transfer`` with the fewest words."""
    pixels, labels = (array.numpy() for array in stage.pixels(40))
    np.savez(place / "right.npz", x_test=pixels[:, 0], y_test=labels)

    def run(*words, models=TWICE, archs=(stage.ARCH,)):
        named = [word for arch in archs for word in ("--arch", arch)]
        return mantrap("transfer", *models, "--images", "right.npz", *named, *words)

    return run


def test_stdout_is_the_record_alone_and_the_folder_has_it_with_a_report(transfer, tmp_path):
    code, out, err = transfer("--json", "--out", tmp_path, "--attack", "fgsm(eps=0.8)")
    record = TransferRecord.from_json(out)

    assert (code, err) == (0, "")
    assert record.evasion == "fgsm(eps=0.8)"
    assert record.names[0].endswith("clean.safetensors (1)")
    assert record.rows[0].shown[0].wrong == record.rows[0].shown[1].wrong
    assert record.rows[0].shown[1].wrong.value > 0
    assert (tmp_path / "transfer.json").read_text() == out
    assert (tmp_path / "report.html").read_text() == render_transfer_html(record)


def test_its_command_does_the_same_again(transfer, mantrap):
    _, first, _ = transfer("--json", "--seed", "3", "--distortion", "0.1")
    record = TransferRecord.from_json(first)
    _, again, _ = mantrap(*shlex.split(record.reproduction.command)[1:], "--json")

    assert record.stretched == 0.1
    assert stable(again) == stable(first)


def test_without_json_it_prints_the_text(transfer):
    _, out, _ = transfer()
    _, record, _ = transfer("--json")

    assert out == f"{render_transfer_text(TransferRecord.from_json(record))}\n"


def test_architectures_may_be_given_for_each(transfer):
    assert transfer(archs=(stage.ARCH, stage.ARCH))[0] == 0


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"models": TWICE[:1]}, 2, "expected two models or more, got 1"),
        ({"archs": (stage.ARCH,) * 3}, 2, "expected --arch once, or once for each of 2 models, got 3"),
        ({"words": ("--distortion", "2")}, 2, "expected a distortion above 0 and of at most 1"),
        ({"words": ("--attack", "nothing")}, 2, "expected an evasion out of"),
    ],
)
def test_bad_input_is_one_line(transfer, given, code, says):
    got, out, err = transfer(*given.pop("words", ()), **given)

    assert (got, out) == (code, "")
    assert err.count("\n") == 1
    assert says in err
