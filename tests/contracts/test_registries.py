"""What every algorithm of every registry promises as a value; a new one is covered by its line in the registry."""

import dataclasses
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from mantrap.cli.catalogue import _families
from mantrap.core import Spec, build, spec_of
from mantrap.core.describe import option_texts, summary
from mantrap.errors import SpecError

FAMILIES = {family: list(kinds) for family, kinds in _families().items()}
KINDS = [kind for kinds in FAMILIES.values() for kind in kinds]
OPTIONS = [(kind, field.name) for kind in KINDS for field in dataclasses.fields(kind) if field.init]


def called(part: Any) -> str:
    """An algorithm by family and name, so that a name that is there twice fails one test and hides none."""
    return part if isinstance(part, str) else next(f"{f}-{part.name}" for f, kinds in FAMILIES.items() if part in kinds)


every_kind = pytest.mark.parametrize("kind", KINDS, ids=called)
every_option = pytest.mark.parametrize(("kind", "option"), OPTIONS, ids=called)


def others(value: Any, hint: Any) -> Iterator[Any]:
    """Values near a default that an option may well take."""
    if typing.get_origin(hint) is typing.Literal:
        yield from (choice for choice in typing.get_args(hint) if choice != value)
    for part in typing.get_args(hint):
        if typing.get_origin(part) is typing.Literal:
            yield from others(value, part)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value * 2, value + 6, value / 2, value + 0.25)
    elif value == () and typing.get_args(hint):
        yield {int: (1, 2), float: (0.25, 0.5), str: ("a", "b")}[typing.get_args(hint)[0]]
    elif isinstance(value, tuple):
        yield value * 2
        yield tuple(v / 2 for v in value if isinstance(v, int | float))
        yield tuple(v + 1 for v in value if isinstance(v, int))
    elif value is None:
        yield from {int: (1, 2), float: (0.5,)}.get(typing.get_args(hint)[0], ())
    elif isinstance(value, str):
        yield from (kind.name for kind in KINDS if kind.name != value)
        yield from (f"{value}({f.name}={f.default!r})" for k in KINDS if k.name == value for f in dataclasses.fields(k))


def with_another(kind: type[Any], option: str) -> Any:
    """The algorithm with this option at another value that it accepts, if need be only beside another option."""
    default, hints = kind(), typing.get_type_hints(kind)
    companions = [{}] + [
        {field.name: value}
        for field in dataclasses.fields(kind)
        if field.name != option
        for value in others(getattr(default, field.name), hints[field.name])
    ]
    for companion in companions:
        for value in others(getattr(default, option), hints[option]):
            try:
                made = build(kind, Spec(kind.name, {option: value, **companion}))
            except SpecError:
                continue
            if getattr(made, option) != getattr(default, option):
                return made
    pytest.fail(f"no other value of {option} is accepted")


def test_every_family_has_members_and_every_name_is_there_once():
    names = [kind.name for kind in KINDS]

    assert all(FAMILIES.values())
    assert len(set(names)) == len(names)


@every_kind
def test_a_name_is_spelled_like_a_spec(kind):
    assert re.fullmatch("[a-z][a-z0-9_]*", kind.name)
    assert Spec.parse(kind.name) == Spec(kind.name)


@every_kind
def test_it_can_be_made_without_options(kind):
    assert build(kind, Spec.parse(kind.name)) == kind()
    assert str(spec_of(kind())) == kind.name


@every_kind
def test_it_is_a_frozen_value(kind):
    one, same = kind(), kind()

    assert one == same
    assert hash(one) == hash(same)
    assert kind.__name__ in repr(one)
    assert kind.__dataclass_params__.frozen
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, field.name, getattr(one, field.name))


@every_kind
def test_its_options_go_by_name(kind):
    assert all(field.kw_only for field in dataclasses.fields(kind))


@every_option
def test_every_option_survives_the_round_trip(kind, option):
    other = with_another(kind, option)
    spec = str(spec_of(other))

    assert option in spec
    assert build(kind, Spec.parse(spec)) == other
    assert hash(build(kind, Spec.parse(spec))) == hash(other)


@every_option
def test_every_option_refuses_what_is_of_another_type(kind, option):
    with pytest.raises(SpecError, match=rf"{option}.*got \{{'an': 'object'\}}"):
        build(kind, Spec(kind.name, {option: {"an": "object"}}))


@every_kind
def test_an_unknown_option_is_refused_with_its_name(kind):
    with pytest.raises(SpecError, match="got 'no_such_option'"):
        build(kind, Spec.parse(f"{kind.name}(no_such_option=1)"))


@every_kind
def test_its_docstring_begins_with_a_claim(kind):
    claim = summary(kind)

    assert "__doc__" in vars(kind)
    assert claim.endswith((".", ")."))
    assert claim[0].isupper() or claim[0].isdigit()
    assert not claim.startswith(f"{kind.__name__}(")


@every_option
def test_every_option_is_described(kind, option):
    assert len(option_texts(kind)[option]) > 5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if hasattr(kind, "quick")], ids=lambda kind: kind.name)
def test_a_quick_spec_names_its_own_algorithm_and_is_cheaper_than_the_default(kind):
    spec = Spec.parse(kind.quick)

    assert spec.name == kind.name
    # An algorithm without options is as cheap as can be.
    assert build(kind, spec) != kind() or not dataclasses.fields(kind)
