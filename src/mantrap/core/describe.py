"""What an algorithm's docstring says of it and of each of its options."""

import dataclasses
import inspect
import re
from typing import Any

_SECTION = re.compile(r"^(Args|Returns|Raises|Example|Examples|Reference|Deviations)\s*:", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): ", re.MULTILINE)


def summary(kind: type[Any]) -> str:
    """The claim that the docstring begins with."""
    return inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]


def body(kind: type[Any]) -> str:
    """The docstring without its list of options."""
    text = inspect.cleandoc(kind.__doc__ or "")
    start, end = _arguments(text)
    return (text[:start] + text[end:]).strip()


def option_texts(kind: type[Any]) -> dict[str, str]:
    """A description for each option, those of inherited options from the class that declares them."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        start, end = _arguments(text)
        parts = _ENTRY.split(text[start:end])
        found |= {name: " ".join(words.split()) for name, words in zip(parts[1::2], parts[2::2], strict=True)}
    return {f.name: found.get(f.name, "") for f in dataclasses.fields(kind) if f.init}


def _arguments(text: str) -> tuple[int, int]:
    """Where the section of arguments begins and ends; nowhere at the end where there is none."""
    marks = list(_SECTION.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return next(
        ((m.start(), end) for m, end in zip(marks, ends, strict=False) if m[1] == "Args"), (len(text), len(text))
    )
