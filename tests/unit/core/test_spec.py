"""Spec strings: read without ever being run, written as they are read."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mantrap.core import Spec
from mantrap.errors import SpecError

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: (
        name not in {"and", "as", "def", "del", "for", "if", "in", "is", "not", "or", "try", "from", "with"}
        and name not in {"assert", "async", "await", "break", "class", "else", "elif", "except", "global", "import"}
        and name not in {"lambda", "nonlocal", "pass", "raise", "return", "while", "yield", "continue", "finally"}
    )
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
literals = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.lists(inner, max_size=3), max_leaves=5)


@given(names, st.dictionaries(names, literals, max_size=4))
def test_what_is_written_is_read_back_equal(name, options):
    spec = Spec(name, options)

    assert Spec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("patch", Spec("patch")),
        ("patch()", Spec("patch")),
        ("  patch( size = 4 )  ", Spec("patch", {"size": 4})),
        ("patch(size=(4, 2), colour='white')", Spec("patch", {"size": (4, 2), "colour": "white"})),
        (
            "p(a=-1, b=1e-3, c=[1, 2], d=None, e=True)",
            Spec("p", {"a": -1, "b": 1e-3, "c": [1, 2], "d": None, "e": True}),
        ),
        ("archs.py:my_net", Spec("my_net", file="archs.py")),
        ("../a b/archs.py:Net(width=3)", Spec("Net", {"width": 3}, "../a b/archs.py")),
        (r"C:\zoo\archs.py:net", Spec("net", file=r"C:\zoo\archs.py")),
    ],
)
def test_what_is_read(text, spec):
    assert Spec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not parse"),
        ("patch(", "does not parse"),
        ("patch(size=)", "does not parse"),
        ("two words", "does not parse"),
        ("patch\0", "does not parse"),
        ("(" * 5_000 + ")" * 5_000, "does not parse"),
        ("patch(size=4) and more", "neither a name nor a call"),
        ("3", "neither a name nor a call"),
        ("a.b", "neither a name nor a call"),
        ("a.b(c=1)", "neither a name nor a call"),
        ("f(x=1)(y=2)", "neither a name nor a call"),
        ("patch(4)", "options go by name"),
        ("patch(*[4])", "options go by name"),
        ("patch(**{'size': 4})", "named once"),
        ("patch(size=4, size=5)", "each option is named once"),
        ("patch(size=open('/etc/passwd'))", "the value of size is not a literal"),
        ("patch(size=__import__('os').system('true'))", "the value of size is not a literal"),
        ("patch(size=4 ** 4)", "the value of size is not a literal"),
        ("patch(size={[]: 1})", "the value of size is not a literal"),
        ("patch(size=1e999)", "the value of size is not a literal"),
        ("patch(size=(0, -1e999))", "the value of size is not a literal"),
        ("patch(size=...)", "the value of size is not a literal"),
        ("patch(size=" + "-" * 5_000 + "1)", "does not parse|not a literal"),
    ],
    ids=range(23),
)
def test_what_is_not_read_says_why_and_what_to_write(text, why):
    with pytest.raises(SpecError, match=why) as caught:
        Spec.parse(text)
    assert "neural_cleanse(steps=500)" in caught.value.expected
    assert "Write NAME" in caught.value.remedy
    assert len(str(caught.value)) < 400


pieces = st.sampled_from(
    ["(", ")", "=", ",", "'", '"', "{", "}", "[", "]", "\\", "\n", "\0", ":", ".py:", "f'", "b'", "# "]
)
hostile = st.lists(st.text(string.printable, max_size=4) | pieces | names, max_size=12).map("".join)


@given(st.text() | hostile)
@example("\ud800")
@example("patch(size='\ud800')")
@example("a" * 100_000 + "(" * 500)
@example("patch(size=" + "9" * 5_000 + ")")
@example("patch(size=" + "1+" * 5_000 + "1)")
@example("patch(size=" + "[" * 150 + "]" * 150 + ")")
@example("\ufeffpatch")
@example("f(x=0xg)")
@example("f(x='\\N{no such}')")
@example("f(x=1if 2else 3)")
@example("f(x='\\d')")
@example("f(x=01)")
@example("f(x=1_0)")
@example("f(x=b'\\xff')")
def test_no_text_does_anything_but_parse_or_raise_the_one_error(text):
    try:
        spec = Spec.parse(text)
    except SpecError:
        return
    assert isinstance(spec.name, str)
    assert Spec.parse(str(spec)) == spec


def test_the_options_cannot_be_changed():
    options = {"size": 4}
    spec = Spec("patch", options)
    options["size"] = 5

    assert spec.options == {"size": 4}
    with pytest.raises(TypeError):
        spec.options["size"] = 6
