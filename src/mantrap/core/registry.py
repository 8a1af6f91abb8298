"""A family of algorithms: an explicit list of frozen dataclasses, built from spec strings."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

from mantrap.core.spec import Spec
from mantrap.errors import SpecError

T = TypeVar("T")


class Registry(Generic[T]):
    """The algorithms of one family, by name.

    Args:
        family: What one of them is called in messages, for example ``"detector"``.
        kinds: Frozen, keyword-only dataclasses with a class attribute ``name``.
    """

    def __init__(self, family: str, kinds: Sequence[type[T]]) -> None:
        self.family = family
        self._kinds: dict[str, type[T]] = {_name_of(kind): kind for kind in kinds}

    def __iter__(self) -> Iterator[type[T]]:
        return iter(self._kinds.values())

    def __contains__(self, name: str) -> bool:
        return name in self._kinds

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the list."""
        return tuple(self._kinds)

    def kind(self, name: str) -> type[T]:
        """The dataclass of this name.

        Raises:
            SpecError: There is none.
        """
        if name not in self._kinds:
            close = difflib.get_close_matches(name, self._kinds, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise SpecError(
                expected=f"{_article(self.family)} {self.family} out of {', '.join(self._kinds)}",
                got=repr(name),
                remedy=f"{hint}`mantrap list` shows them all.",
            )
        return self._kinds[name]

    def create(self, spec: str | Spec) -> T:
        """Build what a spec string names.

        Raises:
            SpecError: Unknown name or option, a value of the wrong type, or one that the algorithm refuses.
        """
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        return build(self.kind(spec.name), spec)


def build(kind: type[T], spec: Spec) -> T:
    """A dataclass from the options of a spec, each checked against the type of its field."""
    if spec.file is not None:
        raise SpecError(
            expected=f"{spec.name} of mantrap's own",
            got=str(spec),
            remedy="Leave FILE.py out; only a model's --arch takes one.",
        )
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for option in spec.options:
        if option not in fields:
            close = difflib.get_close_matches(option, fields, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            known = f"the options {', '.join(fields)}" if fields else "no options"
            raise SpecError(
                expected=f"{known} for {spec.name}",
                got=repr(option),
                remedy=f"{hint}`mantrap explain {spec.name}` describes them.",
            )
    return kind(**{k: _conform(v, hints[k], f"{spec.name}.{k}") for k, v in spec.options.items()})


def spec_of(algorithm: object) -> Spec:
    """The spec that builds an algorithm again: its name and every option that differs from the default."""
    options = {
        f.name: value
        for f in dataclasses.fields(algorithm)  # type: ignore[arg-type]
        if f.init and (value := getattr(algorithm, f.name)) != _default(f)
    }
    return Spec(_name_of(type(algorithm)), options)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _default(field: "dataclasses.Field[Any]") -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _name_of(kind: type[Any]) -> str:
    name: str = getattr(kind, "name", kind.__name__)
    return name


def _conform(value: Any, hint: Any, where: str) -> Any:
    """The value as the type of its field has it (an int for a float, a list for a tuple), or a SpecError."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for arg in args:
            try:
                return _conform(value, arg, where)
            except SpecError:
                continue
    elif hint is type(None) and value is None:
        return None
    elif origin is Literal and value in args:
        return value
    elif origin is tuple and isinstance(value, tuple | list):
        hints = [args[0]] * len(value) if args[1:] == (...,) else list(args)
        if len(hints) == len(value):
            return tuple(_conform(v, h, where) for v, h in zip(value, hints, strict=True))
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    shown = " or ".join(map(repr, args)) if origin is Literal else getattr(hint, "__name__", str(hint))
    if origin is not None and origin is not Literal:
        shown = str(hint)
    raise SpecError(expected=f"{shown} for {where}", got=repr(value), remedy="Correct the value.")


def require(holds: bool, *, field: str, expected: str, got: object) -> None:
    """Refuse a hyperparameter in a dataclass's ``__post_init__``.

    Raises:
        SpecError: The claim does not hold.
    """
    if not holds:
        raise SpecError(expected=f"{field} {expected}", got=repr(got), remedy=f"Choose another {field}.")
