"""A detector's answer, and all answers together, as JSON."""

import dataclasses
import json

import pytest

from mantrap.errors import RecordError
from mantrap.records import ComparisonRecord, DetectionRecord, StandingRecord, TraitRecord
from mantrap.records.base import encode

TRAITS = (
    TraitRecord(trait="row_mean", label=3, class_name="stop", value=-0.125, chance=0.004),
    TraitRecord(trait="row_norm", label=3, class_name="stop", value=1.5, chance=None),
)
DETECTION = DetectionRecord(
    detector="last_layer", score=None, suspects=(), labels=(), statistics=None, notes=("n",), traits=TRAITS
)
COMPARISON = ComparisonRecord(
    p_value=0.001,
    level=1.0,
    null="55 models",
    standings=(
        StandingRecord(label=3, class_name="stop", chance=0.001),
        StandingRecord(label=0, class_name="yield", chance=0.75),
    ),
)


def test_a_detection_with_traits_comes_back_equal():
    again = DetectionRecord.from_json(DETECTION.to_json())
    assert again == DETECTION
    assert again.traits == TRAITS
    assert hash(again) == hash(DETECTION)


def test_a_detection_of_a_record_without_traits_has_none():
    raw = encode(DETECTION)
    del raw["traits"]
    assert DetectionRecord.from_json(json.dumps(raw)) == dataclasses.replace(DETECTION, traits=())


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("chance", "0.5", r"DetectionRecord\.traits\[1\]\.chance, got '0\.5'"),
        ("value", None, r"float at DetectionRecord\.traits\[1\]\.value, got None"),
        ("label", 1.0, r"int at DetectionRecord\.traits\[1\]\.label, got 1\.0"),
        ("trait", 1, r"str at DetectionRecord\.traits\[1\]\.trait, got 1"),
    ],
)
def test_a_wrong_value_of_a_trait_is_refused_with_its_place(name, value, complaint):
    raw = encode(DETECTION)
    raw["traits"][1][name] = value
    with pytest.raises(RecordError, match=complaint):
        DetectionRecord.from_json(json.dumps(raw))


def test_a_comparison_comes_back_equal_and_in_its_order():
    again = ComparisonRecord.from_json(COMPARISON.to_json())
    assert again == COMPARISON
    assert [s.label for s in again.standings] == [3, 0]
