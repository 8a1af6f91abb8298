"""``mantrap cleanse``: the outcome is the exit code, and what was repaired lies where --out says."""

import json
import shlex
import shutil

import pytest
import safetensors.torch

from mantrap.cli import main
from mantrap.core import Rng
from mantrap.errors import FailedError
from mantrap.models import ARCHITECTURES
from mantrap.models.cards import read_card
from mantrap.records import AuditRecord, CleanseRecord
from mantrap.records.files import sha256_of
from mantrap.repair.unlearning import Unlearning
from mantrap.report import render_cleanse_html, render_cleanse_text, render_text
from mantrap.workflow import cleanse as workflow
from tests import cleansing, headed, stage
from tests.cleansing import TUNING, UNLEARNING

USUAL = ["--arch", headed.ARCH, "--images", "tiles120.npz"]
pytestmark = pytest.mark.usefixtures("as_recovered")


@pytest.fixture
def run(audited, tmp_path):
    """A copy of that folder, to be changed."""
    return shutil.copytree(audited, tmp_path / "run")


@pytest.fixture
def cleanse(mantrap, audited, tmp_path):
    """Run ``mantrap cleanse`` with the fewest words."""

    def start(*words, run=audited, repair=TUNING, out=tmp_path / "out.safetensors", usual=USUAL):
        return mantrap("cleanse", run, *usual, "--repair", repair, "--out", out, *words)

    return start


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out") / "out.safetensors"


@pytest.mark.parametrize(("repair", "code", "outcome"), [(UNLEARNING, 0, "REPAIRED"), (TUNING, 1, "NOT_REPAIRED")])
def test_the_outcome_is_the_exit_code_and_stdout_the_record_alone(cleanse, tmp_path, repair, code, outcome):
    got, out, err = cleanse("--json", repair=repair)
    record = CleanseRecord.from_json(out)

    assert (got, err, record.outcome) == (code, "", outcome)
    assert record.repair == repair
    assert (tmp_path / "out.cleanse.json").read_text() == out
    assert record.fixed_sha256 == sha256_of(tmp_path / "out.safetensors")
    assert record.triggers[0].before.value == 1.0


def test_everything_lies_beside_the_weights(cleanse, tmp_path):
    _, out, _ = cleanse("--json")
    record = CleanseRecord.from_json(out)
    kinds = ("audit.json", "card.json", "cleanse.html", "cleanse.json", "safetensors")

    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out.{kind}" for kind in kinds]
    assert (tmp_path / "out.cleanse.html").read_text() == render_cleanse_html(record)


def test_without_json_the_report_is_shown_as_text_and_again_by_report(cleanse, mantrap, tmp_path):
    code, out, err = cleanse()
    record = CleanseRecord.from_json((tmp_path / "out.cleanse.json").read_text())
    assert (code, err) == (1, "")
    assert out == f"{render_cleanse_text(record)}\n\nReport: {tmp_path / 'out.cleanse.html'}\n"
    assert mantrap("report", tmp_path / "out.cleanse.json") == (0, f"{render_cleanse_text(record)}\n", "")
    assert mantrap("report", tmp_path / "out.cleanse.json", "-o", tmp_path / "again.html") == (0, "", "")
    assert (tmp_path / "again.html").read_text() == (tmp_path / "out.cleanse.html").read_text()
    audited = AuditRecord.from_json((tmp_path / "out.audit.json").read_text())
    assert mantrap("report", tmp_path / "out.audit.json") == (0, render_text(audited), "")


def test_unlearning_is_what_is_done_unless_another_repair_is_named(mantrap, audited, tmp_path, monkeypatch):
    asked = []

    def unwilling(work, *_, **__):
        asked.append(work.repair)
        raise FailedError(expected="some work", got="none", remedy="Look at what was asked for.")

    monkeypatch.setattr(workflow, "cleanse", unwilling)
    code, _, _ = mantrap("cleanse", audited, *USUAL, "--out", tmp_path / "out.safetensors")
    assert (code, asked) == (5, [Unlearning()])


def test_without_a_trigger_there_is_nothing_to_take_out(mantrap, run, tmp_path):
    (run / "triggers.safetensors").unlink()
    code, out, err = mantrap("cleanse", run, *USUAL, "--out", tmp_path / "out.safetensors")
    assert (code, out) == (2, "")
    assert "a recovered trigger to take out, got none" in err
    assert not (tmp_path / "out.safetensors").exists()


def test_without_triggers_fine_tuning_ends_not_repaired(cleanse, run):
    (run / "triggers.safetensors").unlink()
    code, out, _ = cleanse("--json", run=run)
    assert (code, json.loads(out)["triggers"]) == (1, [])


def test_the_seed_and_the_detectors_are_those_of_the_audit(cleanse, run):
    record = json.loads((run / "audit.json").read_text())
    record["reproduction"]["seed"] = 5
    (run / "audit.json").write_text(json.dumps(record))
    _, out, _ = cleanse("--json", "--seed", "7", run=run)
    assert json.loads(out)["reproduction"]["seed"] == 5
    assert json.loads(out)["reproduction"]["detectors"] == [headed.MARGINS]


def test_the_same_call_again_changes_nothing_and_fresh_starts_over(cleanse, tmp_path):
    weights = tmp_path / "out.safetensors"
    first = cleanse("--json")[1]
    mark = weights.stat().st_mtime_ns, weights.stat().st_ino
    assert cleanse("--json") == (1, first, "")
    assert (weights.stat().st_mtime_ns, weights.stat().st_ino) == mark

    code, out, err = cleanse(repair=UNLEARNING)
    assert (code, out) == (2, "")
    assert "the work of another repair" in err
    assert cleanse("--fresh", repair=UNLEARNING)[0] == 0


class TestRounds:
    def test_they_reach_the_work_and_stand_in_the_command(self, cleanse):
        _, out, _ = cleanse("--json", "--rounds", "2")
        record = json.loads(out)

        assert record["origin"]["rounds"] == "2"
        words = shlex.split(record["reproduction"]["command"])
        assert words[words.index("--rounds") + 1] == "2"

    def test_there_are_three_at_most_where_nothing_is_said(self, cleanse):
        assert json.loads(cleanse("--json")[1])["origin"]["rounds"] == "3"

    def test_none_are_refused_before_any_work(self, cleanse, tmp_path):
        code, out, err = cleanse("--rounds", "0")

        assert (code, out) == (2, "")
        assert err.count("expected") == 1
        assert "one round, at least, got 0" in err
        assert not list(tmp_path.iterdir())


class TestModel:
    def test_one_that_was_moved_is_named(self, cleanse, run, tmp_path):
        record = json.loads((run / "audit.json").read_text())
        moved = shutil.copy(record["volatile"]["model_path"], tmp_path / "moved.safetensors")
        record["volatile"]["model_path"] = str(tmp_path / "gone.safetensors")
        (run / "audit.json").write_text(json.dumps(record))

        code, out, err = cleanse(run=run)
        assert (code, out) == (2, "")
        assert f"the model that was audited at {tmp_path / 'gone.safetensors'}, got nothing" in err
        code, out, _ = cleanse("--json", "--model", moved, run=run)
        assert (code, json.loads(out)["model"]["file_name"]) == (1, "moved.safetensors")
        assert json.loads(out)["volatile"]["model_path"] == str(moved)

    def test_another_one_is_refused_for_its_triggers_and_without_them(self, cleanse, run, tmp_path):
        other = headed.write_model(tmp_path, planted=False)
        code, out, err = cleanse("--model", other, run=run)
        assert (code, out) == (4, "")
        assert "triggers of the model with sha256" in err

        (run / "triggers.safetensors").unlink()
        code, out, err = cleanse("--model", other, run=run)
        assert (code, out) == (2, "")
        assert "the model that was audited, sha256" in err
        assert not (tmp_path / "out.safetensors").exists()

    def test_a_strangers_network_is_never_built_unless_it_is_named(self, cleanse, tmp_path):
        code, out, err = cleanse(usual=USUAL[2:])
        assert (code, out) == (2, "")
        assert "got neither --arch nor a card" in err
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def mlp(place):
    """The folder of an audit of a network of ours without a card, with preprocessing that was declared."""
    arch = f"mlp(channels=1, height={stage.SIDE}, width={stage.SIDE}, num_classes=6, hidden=(8,))"
    with Rng(0).child("weights").as_global():
        network = ARCHITECTURES.create(arch).build()
    path = place / "mlp.safetensors"
    path.write_bytes(safetensors.torch.save(network.state_dict()))
    given = ["--arch", arch, "--images", str(place / "tiles120.npz"), "--detector", headed.MARGINS, "--mean", "0.4"]
    words = ["--std", "0.5", "--pixel-range", "0..2", "--no-copy", "--no-control", "--json"]
    main(["audit", str(path), *given, *words, "--out", str(place / "mlp")])
    return place / "mlp"


class TestOurs:
    def test_architecture_and_preprocessing_are_those_of_the_audit(self, cleanse, mlp, tmp_path):
        code, out, err = cleanse("--json", run=mlp, usual=USUAL[2:])
        record, card = CleanseRecord.from_json(out), read_card(tmp_path / "out.safetensors")

        assert (code, err) == (1, "")
        assert record.model.arch.startswith("mlp(")
        assert (record.model.mean, record.model.std, record.model.pixel_range) == ((0.4,), (0.5,), (0.0, 2.0))
        assert (card.mean, card.std, card.pixel_range, card.arch) == ((0.4,), (0.5,), (0.0, 2.0), record.model.arch)

    def test_what_is_declared_stands_above_them(self, cleanse, mlp):
        words = ["--mean", "0.3", "--std", "0.6", "--pixel-range", "0..3"]
        _, out, _ = cleanse("--json", *words, run=mlp, usual=USUAL[2:])
        record = CleanseRecord.from_json(out)
        assert (record.model.mean, record.model.std, record.model.pixel_range) == ((0.3,), (0.6,), (0.0, 3.0))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repair", "unlearn"], "Did you mean unlearning?"),
        (["--repair", "unlearning(share=2)"], "share in (0, 1]"),
        (["--out", "out.pt"], "ends in .safetensors"),
        (["--threads", "0"], "--threads of at least 1"),
        (["--limit", "0"], "--limit of at least 1"),
        (["--device", "abacus"], "abacus"),
        (["--model", "nothing.safetensors"], "the model that was audited at nothing.safetensors, got nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_values_are_usage_and_write_nothing(mantrap, audited, tmp_path, words, message):
    given = {"--repair": UNLEARNING, "--out": str(tmp_path / "out.safetensors")} | dict([words])
    code, out, err = mantrap("cleanse", audited, *USUAL, *(word for pair in given.items() for word in pair))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there_is_usage(cleanse, tmp_path):
    code, out, err = cleanse(run=tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert f"a record of the kind audit at {tmp_path / 'nowhere' / 'audit.json'}, got nothing" in err


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("audit.json", b"{", "expected"),
        ("audit.json", b"\xff\xfe\xff", "a record in"),
        ("triggers.safetensors", b"half a file", "the triggers of an audit in"),
    ],
)
def test_a_run_that_is_broken_is_refused(cleanse, run, tmp_path, name, data, message):
    (run / name).write_bytes(data)
    code, out, err = cleanse(run=run)
    assert (code, out) == (4, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("words", [[], ["--limit", "110", "--seed", "3", "--mean", "0.0", "--std", "1.0"]])
def test_the_recorded_command_gives_the_same_record_again(mantrap, cleanse, audited, tmp_path, words):
    first = cleanse("--json", *words)[1]
    command = shlex.split(json.loads(first)["reproduction"]["command"])
    assert command[:3] == ["mantrap", "cleanse", str(audited)]
    for path in tmp_path.iterdir():
        path.unlink()
    code, second, _ = mantrap(*command[1:], "--json")
    assert code == 1
    assert cleansing.stable(second) == cleansing.stable(first)


def test_the_record_does_not_depend_on_how_it_is_printed(cleanse, tmp_path):
    first = cleansing.stable(cleanse("--json")[1])
    cleanse("--fresh")
    assert cleansing.stable((tmp_path / "out.cleanse.json").read_text()) == first
