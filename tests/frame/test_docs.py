"""The documentation is complete: every command, every page, every decision, every fragment has its place."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from mantrap.cli import app
from mantrap.core.describe import summary
from mantrap.poison import ATTACKS
from mantrap.records import AuditRecord, json_schema


def pages(entries):
    """The files that a navigation names."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values():
                yield from pages(below if isinstance(below, list) else [below])


@pytest.fixture
def navigation(root):
    return list(pages(tomllib.loads((root / "zensical.toml").read_text())["project"]["nav"]))


def test_every_page_is_in_the_navigation_once(root, navigation):
    written = {p.relative_to(root / "docs").as_posix() for p in (root / "docs").rglob("*.md")}

    assert sorted(navigation) == sorted(written)


def test_decisions_are_numbered_without_gaps_and_listed(root):
    folder = root / "docs" / "decisions"
    names = sorted(p.name for p in folder.glob("0*.md"))
    index = (folder / "index.md").read_text()

    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        title = (folder / name).read_text().partition("\n")[0].removeprefix("# ")
        assert f"[{title}]({name})" in index


def test_every_command_has_its_section(root):
    commands = [name for name in app if not name.startswith("-")]
    page = (root / "docs" / "cli.md").read_text()

    assert commands
    assert [name for name in commands if not re.search(rf"^#+ .*`mantrap {name}\b", page, re.MULTILINE)] == []


def test_every_fragment_has_a_type_that_towncrier_knows(root):
    towncrier = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["towncrier"]
    types = "|".join(kind["directory"] for kind in towncrier["type"])
    fragments = [p.name for p in (root / towncrier["directory"]).iterdir() if p.suffix == ".md"]

    assert [name for name in fragments if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({types})(\.\d+)?\.md", name)] == []


def test_the_fragments_make_a_changelog(root):
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9.9", "--date", "2000-01-01"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## 9.9.9 (2000-01-01)")


def test_every_page_with_an_example_is_run(root):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "docs", "src"]
    collected = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout
    documents = [*(root / "docs").rglob("*.md"), *(root / "src").rglob("*.py")]
    shown = [p for p in documents if re.search(r"^\s*(```python$|>>> )", p.read_text(), re.MULTILINE)]

    assert shown
    assert [p.name for p in shown if f"{p.relative_to(root).as_posix()}::" not in collected] == []


@pytest.mark.parametrize("kind", list(ATTACKS), ids=lambda kind: kind.name)
def test_every_attack_has_a_card_with_a_picture(root, kind):
    """To write it: python tools/attack_cards.py NAME."""
    folder = root / "docs" / "attacks"
    page = (folder / f"{kind.name}.md").read_text()

    assert f"]({kind.name}.png)" in page
    assert f"::: {kind.__module__}.{kind.__qualname__}" in page
    assert (folder / f"{kind.name}.png").read_bytes()[:4] == b"\x89PNG"
    assert f"[`{kind.name}`]({kind.name}.md) | {summary(kind)} |" in (folder / "index.md").read_text()


def test_the_published_schema_is_that_of_the_record(root):
    """To accept a change: MANTRAP_UPDATE_GOLD=1 pytest tests/frame."""
    path = root / "docs" / "audit.schema.json"
    if os.environ.get("MANTRAP_UPDATE_GOLD"):
        path.write_text(json.dumps(json_schema(AuditRecord), indent=1) + "\n")

    assert json.loads(path.read_text()) == json_schema(AuditRecord)
