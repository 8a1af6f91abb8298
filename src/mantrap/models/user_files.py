"""Constructors in the user's own files. Such a file is run: naming it on the command line says that it is trusted."""

import contextlib
import difflib
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from mantrap.core import Spec
from mantrap.errors import MissingDataError, UsageError


def construct(spec: Spec) -> nn.Module:
    """Run a file and call a constructor in it: ``FILE.py:NAME`` or ``FILE.py:NAME(option=...)``.

    While it runs, the file can import its neighbours, and torch's global random numbers are put back afterwards.

    Raises:
        MissingDataError: There is no such file.
        UsageError: The file or the constructor fails (file and line are named), or what comes back is no ``nn.Module``.
    """
    path = Path(spec.file or "").expanduser().resolve()
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing there"
        raise MissingDataError(expected=f"a Python file at {path}", got=got, remedy="Correct the path in --arch.")
    with _neighbours(path), torch.random.fork_rng(devices=[]):
        module = _run(path)
        constructor = getattr(module, spec.name, None)
        if not callable(constructor):
            raise _unknown(path, module, spec.name)
        try:
            network = constructor(**spec.options)
        except (Exception, SystemExit) as error:
            raise _failed(path, f"{spec.name}(...)", error) from error
    if not isinstance(network, nn.Module):
        raise UsageError(
            expected=f"{spec.name} in {path} to return a torch.nn.Module",
            got=type(network).__name__,
            remedy="Name a class or function that builds the network.",
        )
    return network


def _run(path: Path) -> ModuleType:
    name = f"mantrap_user_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise UsageError(expected=f"a Python file at {path}", got="something else", remedy="Give a file ending in .py.")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(path, "the file", error) from error
    return module


@contextlib.contextmanager
def _neighbours(path: Path) -> Iterator[None]:
    """Let the file import modules that lie beside it."""
    sys.path.insert(0, str(path.parent))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(path.parent))


def _failed(path: Path, what: str, error: BaseException) -> UsageError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    where = f"{path}, line {line}" if line else str(path)
    first = str(error).partition("\n")[0]
    return UsageError(
        expected=f"{what} in {path} to run",
        got=f"{type(error).__name__}: {first:.200} ({where})",
        remedy="Correct the file, or the options in --arch.",
    )


def _unknown(path: Path, module: ModuleType, name: str) -> UsageError:
    names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
    close = difflib.get_close_matches(name, names, n=1)
    return UsageError(
        expected=f"a constructor in {path}",
        got=f"no {name!r} that can be called",
        remedy=f"Did you mean {close[0]}?" if close else "Name a class or function of that file.",
    )
