"""Frozen values that go to JSON and come back equal: one codec for every record.

A record is a frozen dataclass whose fields are strings, numbers, booleans, ``None``, enums, other records, tuples and
string-keyed mappings of these. Everything a report shows is made of records; none of them knows torch.
"""

import dataclasses
import enum
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, dataclass_transform

from mantrap.errors import RecordError

SCHEMA_VERSION = "1.0"
"""Version of the JSON that records are written in; the first number changes when a reader must change."""

_SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number"}


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record:
    """Base of all records: subclasses become frozen, keyword-only dataclasses with a JSON form and a notebook view."""

    notebook_view: ClassVar[Callable[[Any], str] | None] = None
    """How a notebook shows this kind of record. Records know no HTML; the package's front door hands a renderer in."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)

    def to_json(self) -> str:
        """The record as indented JSON text in ASCII, ending in a newline. Non-finite numbers raise ``ValueError``.

        ASCII, because names come from files and may hold what no UTF-8 can write.
        """
        return json.dumps(encode(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a record back from :meth:`to_json`.

        Raises:
            RecordError: The text is no JSON, of another schema version or kind, or lacks a field.
        """
        raw, kind = _opened(text), cls.kind_name()
        if kind and raw.get("kind", kind) != kind:
            raise RecordError(
                expected=f"a record of the kind {kind}", got=f"one of {raw['kind']!r:.80}", remedy="Give another file."
            )
        decoded: Self = decode(raw, cls, cls.__name__)
        return decoded

    @classmethod
    def kind_name(cls) -> str:
        """What a record of this class says that it is; empty where it is but a part of others."""
        return str(getattr(cls, "kind", ""))

    def _repr_html_(self) -> str | None:
        view = type(self).notebook_view
        return None if view is None else view(self)


def kind_of(text: str) -> str:
    """What a record in JSON says that it is.

    Raises:
        RecordError: The text is no JSON, of another schema version, or does not say what it is.
    """
    kind = _opened(text).get("kind")
    if not isinstance(kind, str):
        raise RecordError(
            expected="a record that says of which kind it is",
            got="one that does not",
            remedy="Give a file that mantrap wrote.",
        )
    return kind


def _opened(text: str) -> dict[str, Any]:
    """The fields of a record in JSON, of a schema version that can be read."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            expected="a record in JSON",
            got=f"text that does not parse ({error})",
            remedy="Give a file that mantrap wrote.",
        ) from error
    if not isinstance(raw, dict):
        raise RecordError(expected="a record in JSON", got=f"{raw!r:.80}", remedy="Give a file that mantrap wrote.")
    version = raw.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, str) or version.split(".", 1)[0] != SCHEMA_VERSION.split(".", 1)[0]:
        raise RecordError(
            expected=f"schema version {SCHEMA_VERSION}",
            got=f"{version!r:.80}",
            remedy="Read it with the version of mantrap that wrote it.",
        )
    return raw


def encode(value: Any) -> Any:
    """A record, or a part of one, as plain JSON values."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a record holds finite numbers only, got {value}")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def decode(raw: Any, hint: Any, where: str) -> Any:
    """Plain JSON values back to what the type hint says; the inverse of :func:`encode`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return raw
    if origin in (types.UnionType, typing.Union):
        return _decode_union(raw, args, where)
    if origin is tuple:
        _expect(isinstance(raw, list), "a list", raw, where)
        hints = [args[0]] * len(raw) if args[1:] == (...,) else list(args)
        _expect(len(hints) == len(raw), f"{len(hints)} entries", raw, where)
        return tuple(decode(v, h, f"{where}[{i}]") for i, (v, h) in enumerate(zip(raw, hints, strict=True)))
    if origin in (dict, Mapping):
        _expect(isinstance(raw, dict), "an object", raw, where)
        return {k: decode(v, args[1], f"{where}.{k}") for k, v in raw.items()}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        _expect(raw in [m.value for m in hint], f"one of {[m.value for m in hint]}", raw, where)
        return hint(raw)
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(raw, hint, where)
    if hint is float and type(raw) in (int, float):
        _expect(abs(raw) <= sys.float_info.max, "a finite float", raw, where)
        return float(raw)
    _expect(hint in _SCALARS and type(raw) is hint, getattr(hint, "__name__", str(hint)), raw, where)
    return raw


def _decode_union(raw: Any, args: tuple[Any, ...], where: str) -> Any:
    if raw is None and type(None) in args:
        return None
    problems: list[str] = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return decode(raw, arg, where)
        except RecordError as error:
            problems.append(str(error))
    raise RecordError(expected=f"a value for {where}", got=f"{raw!r}", remedy=" ".join(problems))


def _decode_dataclass(raw: Any, hint: Any, where: str) -> Any:
    _expect(isinstance(raw, dict), "an object", raw, where)
    hints = typing.get_type_hints(hint)
    fields = {f.name: f for f in dataclasses.fields(hint)}
    required = {
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing, unknown = sorted(required - raw.keys()), sorted(raw.keys() - fields.keys())
    _expect(not missing, f"the fields {missing}", f"none of that name in {where}", where)
    # A newer minor version may have added fields; what we do not know we cannot show, so it is left out.
    return hint(**{k: decode(v, hints[k], f"{where}.{k}") for k, v in raw.items() if k not in unknown})


def _expect(holds: bool, expected: str, got: Any, where: str) -> None:
    if not holds:
        raise RecordError(
            expected=f"{expected} at {where}", got=f"{got!r:.80}", remedy="The record is damaged; make it again."
        )


def json_schema(kind: type[Record]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a kind of record, derived from its fields."""
    definitions: dict[str, Any] = {}
    root = _schema_of(kind, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.__name__,
        "version": SCHEMA_VERSION,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return {"type": "null"}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema_of(a, definitions) for a in args]}
    if origin is tuple and args[1:] == (...,):
        return {"type": "array", "items": _schema_of(args[0], definitions)}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_schema_of(a, definitions) for a in args], "items": False}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema_of(args[1], definitions)}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [m.value for m in hint]}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            hints = typing.get_type_hints(hint)
            names = [f.name for f in dataclasses.fields(hint)]
            definitions[hint.__name__] = {
                "type": "object",
                "properties": {n: _schema_of(hints[n], definitions) for n in names},
                "required": names,
            }
        return {"$ref": f"#/$defs/{hint.__name__}"}
    return {"type": _SCALARS[hint]}
