"""Frozen dataclasses from spec strings, each option checked against the type of its field."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from mantrap.core import Registry, Spec, build, require, spec_of
from mantrap.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Brush:
    """A brush."""

    name: ClassVar[str] = "brush"

    width: int = 3
    weight: float = 0.5
    wet: bool = False
    colour: Literal["red", "blue"] | float = "red"
    place: tuple[int, int] = (0, 0)
    strokes: tuple[float, ...] = ()
    note: str | None = None
    layers: tuple[int, ...] = field(default_factory=lambda: (1, 2))

    def __post_init__(self) -> None:
        require(self.width >= 1, field="width", expected="of at least 1", got=self.width)


@dataclass(frozen=True, kw_only=True)
class Sponge:
    """A sponge."""

    name: ClassVar[str] = "sponge"


TOOLS: Registry = Registry("tool", [Brush, Sponge])


@pytest.mark.parametrize(
    ("option", "given", "kept"),
    [
        ("width", "7", 7),
        ("weight", "2", 2.0),
        ("weight", "-1e-3", -1e-3),
        ("wet", "True", True),
        ("colour", "'blue'", "blue"),
        ("colour", "1", 1.0),
        ("place", "(4, 5)", (4, 5)),
        ("place", "[4, 5]", (4, 5)),
        ("strokes", "[1, 2.5, 3]", (1.0, 2.5, 3.0)),
        ("strokes", "()", ()),
        ("note", "'x'", "x"),
        ("note", "None", None),
        ("layers", "(1, 2, 3)", (1, 2, 3)),
    ],
)
def test_a_value_comes_as_the_type_of_its_field(option, given, kept):
    value = getattr(TOOLS.create(f"brush({option}={given})"), option)

    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        ("width", "7.0", "int for brush.width"),
        ("width", "'7'", "int for brush.width"),
        ("width", "True", "int for brush.width"),
        ("width", "None", "int for brush.width"),
        ("weight", "True", "float for brush.weight"),
        ("weight", "'heavy'", "float for brush.weight"),
        ("wet", "1", "bool for brush.wet"),
        ("colour", "'green'", "for brush.colour"),
        ("place", "(1,)", "for brush.place"),
        ("place", "(1, 2, 3)", "for brush.place"),
        ("place", "(1, 2.0)", "int for brush.place"),
        ("place", "5", "for brush.place"),
        ("strokes", "'123'", "for brush.strokes"),
        ("strokes", "{1: 2}", "for brush.strokes"),
        ("note", "3", "for brush.note"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_field(option, given, expected):
    with pytest.raises(SpecError, match=expected) as caught:
        TOOLS.create(f"brush({option}={given})")
    assert caught.value.exit_code == 2


def test_a_literal_that_is_none_of_the_choices_names_them():
    @dataclass(frozen=True, kw_only=True)
    class Pen:
        tip: Literal["fine", "broad"] = "fine"

    with pytest.raises(SpecError, match=r"expected 'fine' or 'broad' for Pen\.tip, got 'thick'"):
        build(Pen, Spec("Pen", {"tip": "thick"}))


def test_a_value_that_the_algorithm_refuses_is_refused():
    with pytest.raises(SpecError, match=r"expected width of at least 1, got 0\. Choose another width"):
        TOOLS.create("brush(width=0)")


def test_an_unknown_name_is_refused_with_the_known_ones_and_the_nearest():
    with pytest.raises(SpecError, match=r"a tool out of brush, sponge, got 'brsh'\. Did you mean brush\?"):
        TOOLS.create("brsh")
    with pytest.raises(SpecError, match=r"got 'xyz'\. `mantrap list`"):
        TOOLS.kind("xyz")


def test_an_unknown_option_is_refused_with_the_known_ones_and_the_nearest():
    with pytest.raises(SpecError, match=r"the options width, .*layers for brush, got 'with'\. Did you mean width\?"):
        TOOLS.create(Spec("brush", {"with": 3}))
    with pytest.raises(SpecError, match="expected no options for sponge, got 'name'"):
        TOOLS.create("sponge(name='x')")


def test_a_spec_holds_what_differs_from_the_default_and_builds_the_same_again():
    assert str(spec_of(Brush())) == "brush"
    assert str(spec_of(Brush(layers=(1, 2), width=3))) == "brush"
    brush = Brush(width=4, colour=0.5, place=(1, 2), note="it's", layers=())

    assert str(spec_of(brush)) == 'brush(width=4, colour=0.5, place=(1, 2), note="it\'s", layers=())'
    assert TOOLS.create(str(spec_of(brush))) == brush


def test_a_registry_lists_its_kinds_in_order():
    assert TOOLS.names == ("brush", "sponge")
    assert list(TOOLS) == [Brush, Sponge]
    assert "brush" in TOOLS
    assert "name" not in TOOLS
    assert TOOLS.kind("sponge") is Sponge


def test_a_file_is_opened_for_no_registry():
    with pytest.raises(SpecError, match=r"Leave FILE\.py out"):
        TOOLS.create("mine.py:brush")
