"""One codec for every record: what goes out comes back equal, and nothing else comes back at all."""

import dataclasses
import enum
import json
import math
import types
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mantrap.core.truth import Backdoor, GroundTruth
from mantrap.errors import RecordError
from mantrap.records import (
    SCHEMA_VERSION,
    AuditRecord,
    CheckRecord,
    CheckStatus,
    CoverageRecord,
    ImplantRecord,
    Likeness,
    ModelCard,
    Nulls,
    Rate,
    Record,
    json_schema,
    kind_of,
)
from mantrap.records.base import encode

KINDS = [AuditRecord, ModelCard, GroundTruth, ImplantRecord, Nulls]
RATE = Rate(hits=95, total=100, value=0.95, low=0.888, high=0.979)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def raw_values(hint: Any) -> st.SearchStrategy[Any]:
    """Any JSON value that a field of this type may hold.

    Records themselves are built in the tests only: the shape checker draws random numbers, which a strategy may not.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([raw_values(arg) for arg in args])
    if origin is tuple and args[1:] == (...,):
        return st.lists(raw_values(args[0]), max_size=1)
    if origin is tuple:
        return st.tuples(*(raw_values(arg) for arg in args)).map(list)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), raw_values(args[1]), max_size=2)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from([member.value for member in hint])
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        names = [field.name for field in dataclasses.fields(hint)]
        given = {"schema_version": "1.0"}
        if "kind" in names and hasattr(hint, "kind"):
            given["kind"] = hint.kind  # a record tells itself from others by it
        free = {name: raw_values(hints[name]) for name in names if name not in given}
        return st.fixed_dictionaries(free | {name: st.just(given[name]) for name in names if name in given})
    return {
        str: st.text(max_size=8),
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        types.NoneType: st.none(),
    }[hint]


# An audit's record is deep: few examples hold many values.
few = settings(max_examples=10)


@every_kind
@few
@given(data=st.data())
def test_what_goes_out_comes_back_equal(kind, data):
    raw = data.draw(raw_values(kind))
    record = kind.from_json(json.dumps(raw))

    assert encode(record) == raw
    assert json.loads(record.to_json()) == raw
    assert kind.from_json(record.to_json()) == record


@every_kind
@few
@given(data=st.data())
def test_every_record_keeps_to_its_schema(kind, data):
    record = kind.from_json(json.dumps(data.draw(raw_values(kind))))

    assert problems(json.loads(record.to_json()), json_schema(kind)) == []


def problems(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None) -> list[str]:
    """What is wrong with a JSON value by a schema, as far as ours use the language; an unknown word is an error."""
    root, said = root or schema, schema.get
    assert set(schema) <= WORDS
    if "$ref" in schema:
        return problems(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return [] if any(not problems(value, s, root) for s in schema["anyOf"]) else [f"{value!r} fits nothing"]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{value!r} not in {schema['enum']}"]
    if type(value) not in JSON_TYPES[schema["type"]]:
        return [f"{value!r} is no {schema['type']}"]
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, list):
        if "prefixItems" in schema and (said("items") is not False or len(value) != len(schema["prefixItems"])):
            return [f"{value!r} is of another length"]
        parts = list(zip(value, said("prefixItems") or [schema["items"]] * len(value), strict=True))
    if isinstance(value, dict):
        missing = [f"{name} is missing" for name in said("required", []) if name not in value]
        if missing:
            return missing
        parts = [(v, said("properties", {}).get(k, said("additionalProperties"))) for k, v in value.items()]
    return [problem for part, its_schema in parts for problem in problems(part, its_schema, root)]


WORDS = {
    *("$schema", "title", "version", "$defs", "$ref", "anyOf", "enum", "type"),
    *("prefixItems", "items", "properties", "required", "additionalProperties"),
}
JSON_TYPES = {
    "string": {str},
    "boolean": {bool},
    "integer": {int},
    "number": {int, float},
    "null": {types.NoneType},
    "array": {list},
    "object": {dict},
}


@every_kind
def test_a_schema_names_its_draft_its_version_and_refuses_an_empty_object(kind):
    schema = json_schema(kind)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["version"] == SCHEMA_VERSION
    assert json.loads(json.dumps(schema)) == schema
    assert f"{dataclasses.fields(kind)[-1].name} is missing" in problems({}, schema)


def test_a_schema_knows_the_type_of_every_field():
    schema, good = json_schema(Rate), encode(RATE)

    assert problems(good, schema) == []
    for name in good:
        assert problems(good | {name: "many"}, schema) == [f"'many' is no {'number' if name in LOOSE else 'integer'}"]


LOOSE = ("value", "low", "high")


class TestVersions:
    def text(self, **changes: Any) -> str:
        backdoor = Backdoor(
            trigger="patch", relabelling="all_to_one", target=0, training_trigger="patch", poisoned=(1, 2)
        )
        truth = GroundTruth(
            attack="badnets", seed=1, backdoors=(backdoor,), classes=2, clean_digest="a", origin={"kind": "b"}
        )
        return json.dumps(encode(truth) | changes)

    def test_a_newer_minor_version_reads_and_its_new_fields_are_left_out(self):
        assert GroundTruth.from_json(self.text(schema_version="1.9", mood="sunny")).schema_version == "1.9"

    @pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", "", "one", 1, 1.0, None, ["1.0"]])
    def test_another_major_version_is_refused(self, version):
        with pytest.raises(RecordError, match=r"expected schema version 1\.\d+, got .* Read it with the version"):
            GroundTruth.from_json(self.text(schema_version=version))


class TestKind:
    TEXT = '{"kind": %s, "attack": "badnets", "seed": 1, "backdoors": [], "classes": 2, "rule": "", "of": ""}'

    @pytest.mark.parametrize("kind", ["audit", 3, None, ["coverage"]])
    def test_a_record_of_another_is_refused_as_such(self, kind):
        with pytest.raises(
            RecordError, match=r"expected a record of the kind coverage, got one of .*Give another file"
        ):
            CoverageRecord.from_json(self.TEXT % json.dumps(kind))

    def test_what_does_not_say_is_taken_for_it(self):
        text = '{"rule": "x", "detectors": [], "of": "", "families": []}'
        assert CoverageRecord.from_json(text).kind == "coverage"

    @pytest.mark.parametrize("kind", [AuditRecord, ModelCard, GroundTruth, ImplantRecord])
    def test_a_class_and_the_text_of_a_record_say_the_same(self, kind):
        assert kind_of(json.dumps({"kind": kind.kind_name()})) == kind.kind_name() == kind.kind != ""

    @pytest.mark.parametrize("part", [Rate, Likeness, Record])
    def test_what_is_but_a_part_of_others_says_nothing(self, part):
        assert part.kind_name() == ""

    def test_a_part_may_have_a_kind_of_its_own(self):
        class Shape(Record):
            kind: str

        assert Shape.from_json(Shape(kind="patch").to_json()) == Shape(kind="patch")

    @pytest.mark.parametrize("text", ["{}", '{"kind": null}', '{"kind": ["audit"]}'])
    def test_a_text_that_does_not_say_is_refused(self, text):
        with pytest.raises(RecordError, match="expected a record that says of which kind it is"):
            kind_of(text)

    @pytest.mark.parametrize("text", ["[]", "3", "{"])
    def test_what_is_no_object_has_no_kind(self, text):
        with pytest.raises(RecordError, match="expected a record in JSON"):
            kind_of(text)

    def test_a_later_version_is_refused_before_its_kind_is_asked_for(self):
        with pytest.raises(RecordError, match=r"expected schema version 1\.\d+, got '2\.0'"):
            kind_of('{"schema_version": "2.0", "kind": "of tomorrow"}')


class TestDamage:
    @pytest.mark.parametrize(
        "text",
        ["", "{", "nonsense", "[1, 2", '{"hits": 1e', "\x00", "[" * 100_000, '{"a":' * 100_000, "9" * 5_000],
        ids=range(9),
    )
    def test_what_is_no_json_is_refused(self, text):
        with pytest.raises(RecordError, match="expected a record in JSON"):
            Rate.from_json(text)

    @pytest.mark.parametrize("text", ["[]", "3", '"rate"', "null", "true"])
    def test_what_is_no_object_is_refused(self, text):
        with pytest.raises(RecordError, match="expected a record in JSON, got "):
            Rate.from_json(text)

    @pytest.mark.parametrize(
        ("name", "value", "complaint"),
        [
            ("hits", "95", "int at Rate.hits, got '95'"),
            ("hits", 95.0, r"int at Rate.hits, got 95\.0"),
            ("hits", True, "int at Rate.hits, got True"),
            ("value", None, "float at Rate.value, got None"),
            ("value", True, "float at Rate.value, got True"),
            ("value", math.nan, "finite float at Rate.value, got nan"),
            ("value", -math.inf, "finite float at Rate.value, got -inf"),
            ("value", 10**400, "finite float at Rate.value, got 1000"),
            ("low", [0.1], r"float at Rate.low, got \[0\.1\]"),
        ],
        ids=range(9),
    )
    def test_a_wrong_value_is_refused_with_its_place(self, name, value, complaint):
        with pytest.raises(RecordError, match=complaint):
            Rate.from_json(json.dumps(encode(RATE) | {name: value}))

    def test_a_number_too_large_for_a_float_is_refused(self):
        with pytest.raises(RecordError, match=r"finite float at Rate\.value, got inf"):
            Rate.from_json(RATE.to_json().replace("0.95", "1e999"))

    def test_a_missing_field_is_named(self):
        raw = encode(RATE)
        del raw["low"]
        with pytest.raises(RecordError, match=r"\['low'\]"):
            Rate.from_json(json.dumps(raw))

    def test_a_place_deep_inside_is_named(self):
        class Shelf(Record):
            rates: tuple[Rate, ...]
            pair: tuple[int, int] = (1, 2)
            by_name: dict[str, Rate | None] = dataclasses.field(default_factory=dict)

        good = encode(Shelf(rates=(RATE, RATE), by_name={"a": None}))
        bad = encode(RATE) | {"total": "x"}

        assert Shelf.from_json(json.dumps(good)) == Shelf(rates=(RATE, RATE), by_name={"a": None})
        for change, complaint in [
            ({"rates": [encode(RATE), bad]}, r"int at Shelf\.rates\[1\]\.total"),
            ({"rates": {}}, r"a list at Shelf\.rates, got \{\}"),
            ({"pair": [1]}, r"2 entries at Shelf\.pair"),
            ({"by_name": []}, r"an object at Shelf\.by_name"),
            ({"by_name": {"a": bad}}, r"int at Shelf\.by_name\.a\.total"),
        ]:
            with pytest.raises(RecordError, match=complaint):
                Shelf.from_json(json.dumps(good | change))

    def test_an_unknown_member_of_an_enumeration_is_refused_with_the_known_ones(self):
        good = {"name": "n", "status": "passed", "message": "m"}
        for status in ("burnt", ["passed"], None):
            with pytest.raises(RecordError, match=r"one of \['passed', 'warned', 'skipped'\] at CheckRecord.status"):
                CheckRecord.from_json(json.dumps(good | {"status": status}))

    @given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
    def test_no_text_raises_anything_else(self, text):
        with pytest.raises(RecordError):
            Rate.from_json(text)


class TestWriting:
    def test_the_text_is_indented_ends_in_a_newline_and_keeps_the_order_of_the_fields(self):
        assert RATE.to_json() == '{\n "hits": 95,\n "total": 100,\n "value": 0.95,\n "low": 0.888,\n "high": 0.979\n}\n'

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_number_that_is_none_is_never_written(self, value):
        with pytest.raises(ValueError, match="finite numbers only"):
            dataclasses.replace(RATE, value=value).to_json()

    def test_what_has_no_json_form_is_never_written(self):
        for value in ({1}, b"x", 1j):
            with pytest.raises(TypeError, match=f"cannot hold a {type(value).__name__}"):
                encode([value])

    def test_a_name_from_a_file_system_that_is_no_text_can_be_written_and_read(self):
        record = CheckRecord(name="caf\udce9 標識", status=CheckStatus.PASSED, message="m")

        assert CheckRecord.from_json(record.to_json().encode().decode()) == record


class TestValue:
    def test_a_record_is_frozen_and_its_fields_go_by_name(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            RATE.hits = 1
        with pytest.raises(TypeError, match="positional"):
            Rate(95, 100, 0.95, 0.888, 0.979)

    def test_equal_records_are_one(self):
        assert len({RATE, dataclasses.replace(RATE)}) == 1

    def test_a_notebook_shows_what_the_renderer_that_was_handed_in_makes_of_it(self):
        class Shown(Record):
            text: str

        assert Shown(text="x")._repr_html_() is None
        Shown.notebook_view = lambda record: f"<b>{record.text}</b>"
        assert Shown(text="x")._repr_html_() == "<b>x</b>"
        assert RATE._repr_html_() is None
