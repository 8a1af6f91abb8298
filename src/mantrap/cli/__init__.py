"""The command line: parse, call a workflow, show a record. Nothing here is torch's business until a verb runs."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Toml

from mantrap.errors import MantrapError, MissingDataError, UsageError

USAGE, FAILED, INTERRUPTED = 2, 5, 130
"""Exit codes of what no error of ours says; docs/cli.md has them all."""


def _version() -> str:
    try:
        return version("mantrap")
    except PackageNotFoundError:
        return "mantrap is not installed"


app = App(
    name="mantrap",
    help="Find out whether an image classifier that somebody else trained carries a backdoor, and show the trigger.",
    help_epilogue="Exit codes: 0 nothing found, 1 a finding, 2 usage, 3 inconclusive, 4 refused, 5 failed, "
    "130 interrupted.",
    version=_version,
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # ours says that the same command goes on
)

_VERBS = {
    "audit": ("mantrap.cli.audit:audit", "Look for a backdoor in a model, and write the verdict and a report."),
    "train": ("mantrap.cli.train:train", "Train a model and save it with its card."),
    "poison": (
        "mantrap.cli.poison:poison",
        "Plant a backdoor in a training set; the truth goes into a file of its own.",
    ),
    "implant": ("mantrap.cli.implant:implant", "Make a model with a backdoor, measure it, and save it marked as such."),
    "measure": (
        "mantrap.cli.measure:measure",
        "Say how well the backdoors of a poisoned set work in a model.",
    ),
    "cleanse": ("mantrap.cli.cleanse:cleanse", "Repair a model that was audited, and prove the repair."),
    "guard": ("mantrap.cli.guard:guard", "Fit a guard to a model that was audited, and measure what it keeps out."),
    "filter": ("mantrap.cli.filter:filter_images", "Say which of some images a guard flags."),
    "screen": ("mantrap.cli.screen:screen", "Look for poison in a training set, and say which images to keep."),
    "evade": ("mantrap.cli.evade:evade", "Say what a model still gets right when its images are changed on purpose."),
    "transfer": ("mantrap.cli.transfer:transfer", "Say whether what misleads one of some models misleads the others."),
    "benchmark": (
        "mantrap.cli.benchmark:benchmark",
        "Try every attack against every defence on every task with every seed.",
    ),
    "compare": ("mantrap.cli.compare:compare", "Say in what two audits or two grids differ."),
    "report": (
        "mantrap.cli.report:report",
        "Render a saved record once more, whichever verb wrote it.",
    ),
    "list": ("mantrap.cli.catalogue:show_list", "Name every detector, attack, trigger, architecture and so on."),
    "explain": ("mantrap.cli.catalogue:explain", "Describe one of them and its options."),
    "doctor": ("mantrap.cli.doctor:doctor", "Say what this machine has: versions, device, data sets, extras."),
    "demo": ("mantrap.cli.demo:demo", "Train a clean and a backdoored model on synthetic signs, and audit both."),
}
for _name, (_where, _help) in _VERBS.items():
    app.command(_where, name=_name, help=_help)

_zoo = App(name="zoo", help="Make a population of clean and backdoored models to measure defenders on.")
_zoo.command("mantrap.cli.zoo:build", name="build", help="Make the models of one split, or what of them is not there.")
app.command(_zoo)
_TABLES = (*_VERBS, "zoo")
"""What the tables of a configuration file may be named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after ``mantrap``; those of the process where ``None``.

    Returns:
        The exit code. Every failure is one sentence on stderr; ``MANTRAP_DEBUG=1`` shows the traceback as well.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        outcome = _run(words)
    except CycloptsError as error:
        return _fail(str(error), USAGE)
    except MantrapError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where it stopped", INTERRUPTED)
    except BrokenPipeError:  # whoever reads has read enough, as `head` does: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED
    except Exception as error:  # noqa: BLE001 - the last door: a user never meets a bare traceback
        return _fail(f"{type(error).__name__}: {error}. This should not happen; please report it.", FAILED)
    return outcome if isinstance(outcome, int) else 0


def _run(words: list[str]) -> object:
    config, words = _take_config(words)
    app.config = (Toml(config, must_exist=True, search_parents=False),) if config else ()
    outcome = app(words or ["--help"], exit_on_error=False, print_error=False)
    sys.stdout.flush()  # here, where a pipe that is closed is met in order
    return outcome


def _take_config(words: list[str]) -> tuple[Path | None, list[str]]:
    """``--config FILE`` out of the words, wherever it stands; its tables are named like the verbs."""
    for place, word in enumerate(words):
        if word == "--config" and place + 1 < len(words):
            return _config_file(words[place + 1]), words[:place] + words[place + 2 :]
        if word.startswith("--config="):
            return _config_file(word.partition("=")[2]), words[:place] + words[place + 1 :]
        if word == "--config":
            raise UsageError(expected="a file after --config", got="nothing", remedy="Give --config FILE.toml.")
    return None, words


def _config_file(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise MissingDataError(
            expected=f"a configuration file at {path}", got="none", remedy="Correct the path after --config."
        )
    import tomllib  # noqa: PLC0415 - start-up: only --config needs it

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(expected=f"TOML in {path}", got=str(error), remedy="Correct the file.") from error
    # What stands in a table of a verb is checked when that verb is called; what stands elsewhere would never be read.
    stray = [name for name, value in tables.items() if name not in _TABLES or not isinstance(value, dict)]
    if stray:
        raise UsageError(
            expected=f"tables named like the verbs ({', '.join(_TABLES)}) in {path}",
            got=", ".join(map(repr, stray)),
            remedy="Put each option into the table of its verb, such as [audit].",
        )
    return path


def _fail(message: str, code: int) -> int:
    if os.environ.get("MANTRAP_DEBUG"):
        traceback.print_exc()
    # On one line, and without what a terminal obeys: a message may quote the names of a stranger's files.
    shown = "".join(c if c.isprintable() else " " for c in message)
    sys.stderr.write(f"mantrap: {shown}\n")
    return code
