"""Docstrings become the help of ``mantrap explain``."""

from dataclasses import dataclass

from mantrap.core.describe import body, option_texts, summary


@dataclass(frozen=True)
class Base:
    """A base.

    Args:
        depth: How deep,
            over two lines.
    """

    depth: int = 1


@dataclass(frozen=True)
class Kind(Base):
    """A claim.

    Why and when.

    Args:
        width: How wide: in pixels.
        silent: Nothing.

    Reference: Somebody, 1999.
    """

    width: int = 2
    silent: bool = False
    unsaid: int = 3


@dataclass(frozen=True)
class Bare:
    x: int = 0


def test_the_claim_is_the_first_line():
    assert summary(Kind) == "A claim."


def test_the_body_has_all_but_the_options():
    assert body(Kind) == "A claim.\n\nWhy and when.\n\nReference: Somebody, 1999."
    assert body(Base) == "A base."


def test_options_are_described_also_inherited_ones():
    texts = {"depth": "How deep, over two lines.", "width": "How wide: in pixels.", "silent": "Nothing.", "unsaid": ""}
    assert option_texts(Kind) == texts


def test_what_has_no_docstring_has_no_texts():
    assert option_texts(Bare) == {"x": ""}
    assert body(type("Nothing", (), {})) == ""
