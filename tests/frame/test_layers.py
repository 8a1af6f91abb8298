"""The contracts on imports hold, cover every room that is built, and bite."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

BELOW_TORCH = {"records", "report", "lessons"}
DEFENDERS = {"detect", "screen", "guard", "repair"}
ANSWERS = {"mantrap.core.attack", "mantrap.core.truth", "mantrap.poison"}


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts over the package in a tree, and only there."""
    program = "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def contracts(root):
    options = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers, shown, defenders = options["contracts"]
    return layers, shown, defenders


@pytest.fixture
def rooms(root):
    return {p.name for p in (root / "src" / "mantrap").iterdir() if list(p.glob("*.py"))}


@pytest.fixture
def copy(root, tmp_path):
    shutil.copytree(root / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(root):
    done = lint_imports(root)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 broken" in done.stdout


def test_the_layers_are_exhaustive(contracts):
    assert contracts[0]["exhaustive"] is True


def test_every_folder_is_a_room(rooms, contracts, root):
    placed = {name.strip() for layer in contracts[0]["layers"] for name in layer.split("|")}

    assert rooms <= {name.strip("()") for name in placed}
    assert all((root / "src" / "mantrap" / room / "__init__.py").is_file() for room in rooms)


def test_parentheses_are_for_rooms_that_are_not_built(rooms, contracts):
    placed = {name.strip() for layer in contracts[0]["layers"] for name in layer.split("|")}

    assert {name.strip("()") for name in placed if name.startswith("(")}.isdisjoint(rooms)


def test_contracts_name_every_room_that_is_built(rooms, contracts):
    _, shown, defenders = contracts

    assert set(shown["source_modules"]) == {f"mantrap.{room}" for room in BELOW_TORCH & rooms}
    assert shown["forbidden_modules"] == ["torch"]
    assert set(defenders["source_modules"]) == {f"mantrap.{room}" for room in DEFENDERS & rooms}
    assert set(defenders["forbidden_modules"]) == ANSWERS


TYPE_CHECKING = "\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("records/base.py", "\nimport mantrap.core.rng\n", "Imports point down only"),
        ("models/__init__.py", "\nimport mantrap.data\n", "Imports point down only"),
        ("report/__init__.py", "\nimport torch\n", "What shows a record never reaches torch"),
        ("records/base.py", f"{TYPE_CHECKING}import torch\n", "What shows a record never reaches torch"),
        ("detect/__init__.py", "\nfrom mantrap.core.truth import GroundTruth\n", "A defender never holds the answer"),
        (
            "detect/__init__.py",
            f"{TYPE_CHECKING}from mantrap.core import attack\n",
            "A defender never holds the answer",
        ),
        # Through a chain: every detector imports core.
        ("core/__init__.py", "\nfrom mantrap.core import truth\n", "A defender never holds the answer"),
    ],
)
def test_a_bad_import_breaks_its_contract(copy, module, line, contract):
    with (copy / "src" / "mantrap" / module).open("a") as file:
        file.write(line)

    done = lint_imports(copy)

    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout


def test_a_room_that_is_not_placed_breaks_the_layers(copy):
    room = copy / "src" / "mantrap" / "attic"
    room.mkdir()
    (room / "__init__.py").touch()

    done = lint_imports(copy)

    assert done.returncode == 1
    assert "mantrap.attic" in done.stdout


@pytest.mark.parametrize("room", sorted(BELOW_TORCH))
def test_what_shows_a_record_runs_without_torch(room, rooms, root):
    if room not in rooms:
        pytest.skip(f"{room} is not built yet")
    program = f"import sys; sys.path.insert(0, 'src'); import mantrap.{room}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
