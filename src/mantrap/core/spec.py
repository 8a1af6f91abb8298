"""Spec strings: ``neural_cleanse(steps=500)`` names an algorithm and its settings, everywhere in the same spelling."""

import ast
import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mantrap.errors import SpecError

_FILE_SPEC = re.compile(r"^(?P<file>.+\.py):(?P<rest>.+)$")


@dataclasses.dataclass(frozen=True)
class Spec:
    """A parsed spec string.

    ``file`` is set for ``FILE.py:NAME``, a constructor in a file that the user trusts explicitly.

    Example:
        >>> Spec.parse("patch(size=4, colour='white')").options["size"]
        4
        >>> str(Spec.parse("patch( size = 4 )"))
        'patch(size=4)'
    """

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    file: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Read a spec string. Values are Python literals; nothing is ever evaluated.

        Raises:
            SpecError: The text is no name and no call with keyword arguments that are literals.
        """
        match = _FILE_SPEC.match(text.strip())
        file, body = (match["file"], match["rest"]) if match else (None, text)
        try:
            node = ast.parse(body.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _unreadable(text, "it does not parse") from error
        if isinstance(node, ast.Name):
            return cls(node.id, file=file)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise _unreadable(text, "it is neither a name nor a call")
        if node.args:
            raise _unreadable(text, "options go by name")
        options: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in options:
                raise _unreadable(text, "each option is named once")
            try:
                options[keyword.arg] = ast.literal_eval(keyword.value)
                ast.literal_eval(repr(options[keyword.arg]))  # infinity, for one, could not be written down again
            except (ValueError, TypeError, RecursionError, MemoryError) as error:
                raise _unreadable(text, f"the value of {keyword.arg} is not a literal") from error
        return cls(node.func.id, options, file)

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={v!r}" for k, v in self.options.items())
        head = f"{self.file}:{self.name}" if self.file else self.name
        return f"{head}({inside})" if inside else head


def _unreadable(text: str, why: str) -> SpecError:
    return SpecError(
        expected="a spec such as neural_cleanse or neural_cleanse(steps=500)",
        got=f"{text!r:.120} ({why})",
        remedy="Write NAME or NAME(option=literal, ...), in quotes on the command line.",
    )
