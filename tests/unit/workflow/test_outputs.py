"""Whose work lies at a place."""

import hashlib
from pathlib import Path

import pytest

from mantrap.errors import OutputError
from mantrap.workflow.outputs import finished, named_files

OUT = Path("m.safetensors")
NOW = {"kind": "trained model", "images": "aa", "seed": "0"}


@pytest.mark.parametrize("fresh", [False, True])
def test_a_free_place_holds_nothing_finished(fresh):
    assert not finished(OUT, None, NOW, there=False, fresh=fresh)


def test_the_same_work_is_finished_where_its_output_is_there():
    assert finished(OUT, dict(NOW), NOW, there=True)
    assert not finished(OUT, dict(NOW), NOW, there=False)


def test_fresh_makes_it_anew():
    assert not finished(OUT, dict(NOW), NOW, there=True, fresh=True)
    assert not finished(OUT, NOW | {"seed": "1"}, NOW, there=True, fresh=True)


@pytest.mark.parametrize("there", [False, True])
def test_other_work_is_refused_and_the_difference_is_named(there):
    with pytest.raises(OutputError, match=r"got the work of another images, seed\. .*--fresh"):
        finished(OUT, NOW | {"seed": "1", "images": "bb"}, NOW, there=there)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    ("before", "message"),
    [
        (None, "something that does not say how it came about"),
        ({}, "something that does not say how it came about"),
        ({"kind": "poisoned set"}, "to be new or to hold a trained model, got a poisoned set"),
    ],
)
def test_what_is_of_another_kind_is_never_touched(fresh, before, message):
    with pytest.raises(OutputError, match=rf"{message}\. Choose another --out\.$"):
        finished(OUT, before, NOW, there=True, fresh=fresh)


def test_files_that_specs_name_are_found_with_what_is_in_them(tmp_path):
    name = str(tmp_path / "a.png")
    Path(name).write_bytes(b"one")
    nested = f"badnets(target=7, trigger=('patch', {f'picture(file={name!r})'!r})), no_trigger"

    assert named_files(nested) == f"{name} {hashlib.sha256(b'one').hexdigest()}"
    assert named_files(f"blended(pattern={name!r}) + badnets") == named_files(nested)


@pytest.mark.parametrize("specs", ["badnets", "badnets(trigger='patch(size=4)')", f"blended(pattern={'a' * 400!r})"])
def test_specs_may_name_no_file(specs):
    assert named_files(specs) == ""
