"""What holds for every test, wherever it lies: shapes are checked, one thread, fixed randomness, documents are run.

This file comes before any import of mantrap: the import hook checks every shape and type in a signature while the
tests run, and only then. Fixtures are in ``tests/conftest.py``.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from doctest import ELLIPSIS
from typing import Any

import hypothesis
import torch
from jaxtyping import install_import_hook
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser
from sybil.sybil import SybilCollection
from sybil.typing import Parser

from tools.shapecheck import check

install_import_hook("mantrap", f"{check.__module__}.{check.__name__}")
torch.set_num_threads(1)

# No deadline, because a time is never asserted. In CI the same examples on every run: a red run can be repeated.
hypothesis.settings.register_profile("mantrap", deadline=None, derandomize="CI" in os.environ, print_blob=True)
hypothesis.settings.load_profile("mantrap")


def _enter_scratch(namespace: dict[str, Any]) -> None:
    """Run the examples of one document in a folder of their own."""
    scratch = tempfile.TemporaryDirectory(prefix="mantrap-docs-")
    inside = chdir(scratch.name)
    inside.__enter__()
    namespace["_scratch"] = (scratch, inside)


def _leave_scratch(namespace: dict[str, Any]) -> None:
    scratch, inside = namespace["_scratch"]
    inside.__exit__(None, None, None)
    scratch.cleanup()


def _examples(
    parsers: Sequence[Parser], path: str = ".", pattern: str | None = None, names: Sequence[str] = ()
) -> Sybil:
    return Sybil(parsers, path=path, pattern=pattern, filenames=names, setup=_enter_scratch, teardown=_leave_scratch)


_doctests: Parser = DocTestParser(optionflags=ELLIPSIS)
_markdown: list[Parser] = [_doctests, PythonCodeBlockParser(), SkipParser()]

pytest_collect_file = SybilCollection(
    [
        _examples([_doctests], path="src", pattern="*.py"),
        _examples(_markdown, path="docs", pattern="*.md"),
        _examples(_markdown, names=["README.md"]),
    ]
).pytest()
