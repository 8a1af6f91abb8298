"""``mantrap audit --copy`` and ``--no-copy``."""

import json
import shlex
from dataclasses import dataclass

import pytest

from mantrap.cli.options import command_line
from mantrap.workflow import retraining
from tests import headed, stage


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    """Copies learn for a moment and are measured whatever comes of it."""
    monkeypatch.setattr(retraining, "_UPDATES", 9)
    monkeypatch.setattr(retraining, "_AGREES_FROM", 0.0)


@pytest.fixture
def headed_audit(mantrap, place):
    """Run ``mantrap audit`` on a model that ends in a linear layer."""
    headed.write_model(place, planted=False)

    def run(out, *words):
        given = ["--arch", headed.ARCH, "--images", "tiles120.npz", "--detector", headed.MARGINS, "--out", out]
        return mantrap("audit", "headless.safetensors", *given, "--json", *words)

    return run


def stable(out):
    """A record without what may differ."""
    return {key: value for key, value in json.loads(out).items() if key != "volatile"}


@pytest.mark.parametrize("flag", ["--copy", "--no-copy", None])
def test_the_wish_is_followed_and_the_recorded_command_repeats_it(mantrap, headed_audit, tmp_path, flag):
    _, out, err = headed_audit(tmp_path / "first", *filter(None, [flag]))
    record = stable(out)
    command = shlex.split(record["reproduction"]["command"])
    _, again, _ = mantrap(*command[1:], "--out", tmp_path / "second", "--json")

    assert err == ""
    assert flag is None or (record["copy"] is not None) is (flag == "--copy")
    assert [word for word in command if word.endswith("copy")] == ([flag] if flag else [])
    assert stable(again) == record


def test_the_page_knows_of_it(headed_audit, tmp_path):
    headed_audit(tmp_path / "run", "--copy")
    page = (tmp_path / "run" / "report.html").read_text()

    assert "A copy was retrained on 90 images." in page


def test_a_model_of_which_no_copy_can_be_made_is_audited_all_the_same(audit, tmp_path):
    code, out, _ = audit(tmp_path / "run", "--copy", "--json", detector=stage.QUICK)
    (check,) = [c for c in json.loads(out)["checks"] if c["name"] == "copy"]

    assert code == 1
    assert check["status"] == "skipped"
    assert check["message"].startswith("No copy was retrained: the network does not end in a linear layer")


@dataclass(frozen=True)
class Options:
    """Some options of a verb."""

    copy: bool | None = None
    keep_all: bool | None = None
    label: tuple[int, ...] = ()
    seed: int | None = None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(), ""),
        (Options(copy=True), " --copy"),
        (Options(copy=False, keep_all=False), " --no-copy --no-keep-all"),
        (Options(keep_all=True, label=(0, 1), seed=0), " --keep-all --label 0 --label 1 --seed 0"),
    ],
    ids=["nothing", "yes", "no", "numbers are no flags"],
)
def test_a_flag_is_typed_by_its_name_alone(options, said):
    assert command_line("audit", "m.pt", options) == f"mantrap audit m.pt{said}"
    assert command_line("audit", "m.pt", **vars(options)) == f"mantrap audit m.pt{said}"
