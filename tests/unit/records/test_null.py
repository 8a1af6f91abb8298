"""What is known of models without a backdoor."""

import dataclasses
import json

import pytest

from mantrap.errors import RecordError
from mantrap.records import Null, Nulls, Scatter, ShiftScatter


def scatter(trait: str, spread: float = 0.5) -> Scatter:
    return Scatter(trait=trait, spread=spread, freedom=6.5, centre=1.25, between=None, models=39, labels=416)


ANY = Null(
    arch="",
    scatters=(scatter("patch"), dataclasses.replace(scatter("margin", 0.25), between=0.125)),
    together=((4.0, 1.5), (1.75, 4.0)),
    learned_from="55 models",
)
SMALL = dataclasses.replace(ANY, arch="resnet8", learned_from="18 models")
OTHER = dataclasses.replace(ANY, arch="resnet", learned_from="9 models")
SHIFTS = (ShiftScatter(fewest=2, most=5, centre=0.125, between=0.0625, models=23, shifts=4),)
BESIDE = dataclasses.replace(ANY, scatters=(dataclasses.replace(ANY.scatters[0], kept=0.75),))
BESIDE_SMALL = dataclasses.replace(BESIDE, arch="resnet8")
NULLS = Nulls(nulls=(ANY, SMALL, OTHER), beside_copies=(BESIDE, BESIDE_SMALL), shifts=SHIFTS)


def test_a_table_of_nulls_comes_back_equal_from_its_json():
    again = Nulls.from_json(NULLS.to_json())
    assert again == NULLS
    assert [type(n.together[0]) for n in again.nulls] == [tuple] * 3
    assert again.nulls[0].scatters[0].between is None
    assert again.nulls[0].scatters[1].between == 0.125
    assert again.shifts == SHIFTS


@pytest.mark.parametrize("name", ["shifts", "beside_copies"])
def test_a_table_from_before_something_was_known_has_none_of_it(name):
    older = {key: value for key, value in json.loads(NULLS.to_json()).items() if key != name}
    assert Nulls.from_json(json.dumps(older)) == dataclasses.replace(NULLS, **{name: ()})


def test_a_scatter_from_before_copies_were_known_keeps_nothing():
    older = {key: value for key, value in json.loads(ANY.scatters[0].to_json()).items() if key != "kept"}
    assert Scatter.from_json(json.dumps(older)).kept == 0.0


def test_a_table_of_nulls_of_another_version_is_refused():
    with pytest.raises(RecordError, match=r"expected schema version 1\.\d+"):
        Nulls.from_json(NULLS.to_json().replace('"schema_version": "1.0"', '"schema_version": "2.0"', 1))


@pytest.mark.parametrize(
    ("arch", "found"),
    [
        ("resnet8", SMALL),
        ("resnet8(width=16, classes=43)", SMALL),
        ("resnet", OTHER),
        ("resnet80", ANY),
        ("mnist_cnn(channels=1)", ANY),
        ("", ANY),
        ("(", ANY),
    ],
)
def test_a_network_has_its_null_whatever_its_size_or_else_the_one_for_any(arch, found):
    assert NULLS.for_arch(arch) is found


@pytest.mark.parametrize(("arch", "found"), [("resnet8(width=16)", BESIDE_SMALL), ("resnet", BESIDE), ("", BESIDE)])
def test_a_network_beside_its_copy_has_a_null_of_that_or_else_the_one_for_any(arch, found):
    assert NULLS.beside_copy(arch) is found


def test_where_nothing_is_known_of_copies_there_is_none():
    assert dataclasses.replace(NULLS, beside_copies=()).beside_copy("resnet8") is None


def test_without_levels_what_copies_keep_stays():
    levelled = dataclasses.replace(BESIDE.scatters[0], between=0.5)
    found = dataclasses.replace(BESIDE, scatters=(levelled,)).without_levels()
    assert found == BESIDE


def test_the_scatter_of_a_trait_is_found_by_its_name():
    assert ANY.of("margin") is ANY.scatters[1]
    assert ANY.of("row_mean") is None


def test_two_traits_stand_out_together_as_the_table_says_row_by_row():
    assert ANY.covariance("patch", "margin") == 1.5
    assert ANY.covariance("margin", "patch") == 1.75
    assert ANY.covariance("margin", "margin") == 4.0


@pytest.mark.parametrize("pair", [("patch", "row_mean"), ("row_mean", "patch"), ("row_mean", "row_norm")])
def test_of_an_unknown_trait_the_most_is_assumed(pair):
    assert ANY.covariance(*pair) == 4.0
