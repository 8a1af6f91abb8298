"""The front door: help without torch, one sentence for every failure, and the right exit code."""

import json
import subprocess
import sys

import pytest

from mantrap.cli import _VERBS, FAILED, main
from mantrap.errors import FailedError
from tests import stage

HELPS = """
import io, sys
from contextlib import redirect_stdout
from mantrap.cli import main
for words in ([], ["--help"], ["--version"], *([verb, "--help"] for verb in sys.argv[1:])):
    with redirect_stdout(io.StringIO()) as out:
        code = main(words)
    heavy = sorted({"torch", "numpy", "mantrap.core", "mantrap.detect"} & set(sys.modules))
    assert (code, heavy) == (0, []), (words, code, heavy)
    assert out.getvalue().strip(), words
    assert not words or words[-1] == "--version" or "Usage: mantrap" in out.getvalue(), words
"""


def failure(err):
    """The one sentence on stderr."""
    assert err.startswith("mantrap: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("mantrap: ").strip()


def test_help_and_version_cost_no_torch():
    subprocess.run([sys.executable, "-c", HELPS, *_VERBS], check=True)


def test_a_reader_who_stops_reading_gets_no_complaint():
    program = "import sys; from mantrap.cli import main; sys.exit(main(['list']))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        complaint = process.stderr.read()

    assert complaint == ""
    assert process.returncode == FAILED


def test_the_help_names_every_verb_and_every_exit_code(mantrap):
    code, out, err = mantrap("--help")
    assert (code, err) == (0, "")
    assert all(f" {verb} " in out for verb in _VERBS)
    assert all(f"{code} " in out for code in (0, 1, 2, 3, 4, 5, 130))
    assert mantrap() == (code, out, err)


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("audit", "--images --split --limit --resize --channels --out --arch --mean --std --pixel-range --detector"),
        ("audit", "--label --fresh --json --seed --device --threads --quiet"),
        ("train", "--images --arch --out --recipe --test --fresh --json --seed"),
        ("poison", "--images --out --attack --trigger --selection --relabelling --cover --test-trigger --preparation"),
        ("poison", "--model --arch --mean --fresh --json --seed"),
        ("implant", "--images --attack --arch --from --recipe --test --clean --out --fresh --json --seed --mean"),
        ("report", "--format --output"),
        ("demo", "--out"),
    ],
)
def test_the_help_of_a_verb_names_its_flags(mantrap, words, flags):
    code, out, err = mantrap(words, "--help")
    assert (code, err) == (0, "")
    assert [flag for flag in flags.split() if flag not in out] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adit"], 'Unknown command "adit"'),
        (["--nope"], "--nope"),
        (["list", "--nope"], "Unknown option: --nope"),
        (["audit", "m"], "--images"),
        (["audit", "m", "--images", "x", "--out", "o", "--seed", "many"], '"many"'),
        (["report"], "RUN"),
        (
            ["report", "."],
            "expected audit.json, screen.json, evade.json, transfer.json or grid.json in ., got none of them",
        ),
        (["explain", "neural_cleans"], "`mantrap list`"),
        (["explain", "patch(siz=3)"], "Did you mean size?"),
        (["explain", "patch(size="], "it does not parse"),
        (["report", ".", "--format", "pdf"], '"pdf"'),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(mantrap, words, message):
    code, out, err = mantrap(*words)
    assert (code, out) == (2, "")
    assert message in failure(err)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FailedError(expected="a", got="b", remedy="Do C."), 5, "expected a, got b. Do C."),
        (RuntimeError("two\nlines"), 5, "RuntimeError: two lines. This should not happen; please report it."),
        (ImportError("torch is broken"), 5, "ImportError: torch is broken. This should not happen; please report it."),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on where it stopped"),
    ],
    ids=["ours", "unexpected", "import", "interrupt"],
)
def test_whatever_breaks_ends_in_a_code_of_its_own(mantrap, monkeypatch, error, code, message):
    def breaks():
        raise error

    monkeypatch.setattr("mantrap.cli.catalogue._families", breaks)
    got = mantrap("list")
    assert got[:2] == (code, "")
    assert failure(got[2]) == message


def test_names_from_files_cannot_steer_the_terminal(mantrap, monkeypatch):
    def breaks():
        raise FailedError(expected="a", got="\x1b[2J\u202eevil\x07", remedy="Do C.")

    monkeypatch.setattr("mantrap.cli.catalogue._families", breaks)
    assert failure(mantrap("list")[2]) == "expected a, got  [2J evil . Do C."


def test_the_traceback_is_there_for_who_asks(mantrap, monkeypatch):
    monkeypatch.setenv("MANTRAP_DEBUG", "1")
    code, _, err = mantrap("explain", "nothing")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("mantrap: expected a name")


def test_without_arguments_the_words_of_the_process_are_taken(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mantrap", "nothing"])
    assert main() == 2
    assert "nothing" in failure(capsys.readouterr().err)


def test_the_version_is_told(mantrap):
    code, out, err = mantrap("--version")
    assert (code, err, out.count("\n")) == (0, "", 1)


@pytest.fixture
def config(tmp_path):
    """Write a configuration file."""

    def write(text):
        path = tmp_path / "mantrap.toml"
        path.write_text(text)
        return path

    return write


def test_a_configuration_gives_what_the_flags_do_not(mantrap, finished, config):
    run, record = finished
    path = config('[report]\nformat = "json"\n[audit]\nseed = 3\n')
    code, out, err = mantrap("report", run, "--config", path)
    assert (code, err) == (0, "")
    assert json.loads(out) == record
    assert mantrap(f"--config={path}", "report", run) == (code, out, err)


def test_a_flag_wins_over_the_configuration(mantrap, finished, config):
    run, _ = finished
    path = config('[report]\nformat = "json"\n')
    assert mantrap("report", run, "--config", path, "--format", "text") == mantrap("report", run)


def test_an_audit_can_be_configured_whole(mantrap, config, tmp_path):
    path = config(
        '[audit]\nimages = "tiles120.npz"\nlimit = 110\nlabel = [0, 4]\nseed = 3\nquiet = true\njson = true\n'
        'detector = ["neural_cleanse(steps=2, images_per_step=32)"]\nmean = [0.1]\n'
    )
    words = ["planted.safetensors", "--arch", stage.ARCH, "--out", tmp_path / "run", "--config", path, "--seed", "5"]
    code, out, _ = mantrap("audit", *words)
    record = json.loads(out)
    assert code == 3
    assert (record["data"]["images"], record["model"]["mean"]) == (110, [0.1])
    assert [e["label"] for e in record["labels"]] == [0, 4]
    assert record["reproduction"]["seed"] == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[report]\nfrmat = "json"\n', "frmat"),
        ('[reports]\nformat = "json"\n', "'reports'"),
        ('format = "json"\n', "'format'"),
        ("report = 1\n", "'report'"),
        ('[report]\nformat = "pdf"\n', "pdf"),
        ("[report\n", "expected TOML in"),
    ],
    ids=["key", "table", "key outside", "no table", "value", "broken"],
)
def test_a_configuration_that_is_wrong_is_refused(mantrap, finished, config, text, message):
    code, out, err = mantrap("report", finished[0], "--config", config(text))
    assert (code, out) == (2, "")
    assert message in failure(err)


def test_a_configuration_that_is_not_there_is_refused(mantrap, finished, tmp_path):
    for words in (["--config", tmp_path / "none.toml"], [f"--config={tmp_path}"], ["--config"]):
        code, out, err = mantrap("report", finished[0], *words)
        assert (code, out) == (2, "")
        assert "--config" in failure(err)


def test_a_configuration_of_one_call_is_gone_in_the_next(mantrap, finished, config):
    plain = mantrap("report", finished[0])
    mantrap("report", finished[0], "--config", config('[report]\nformat = "json"\n'))
    assert mantrap("report", finished[0]) == plain
