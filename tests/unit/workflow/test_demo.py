"""The demonstration's steps, far too small to find anything; `tests/trained` holds what it finds."""

import pytest

from mantrap.detect import DEFAULT_DETECTORS, NeuralCleanse
from mantrap.models.cards import marked_backdoored
from mantrap.training import Recipe
from mantrap.workflow import demo


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(demo, "SIGNS", "signs(classes=8, size=16, train=80, test=64)")
    monkeypatch.setattr(demo, "RECIPE", Recipe(epochs=1))
    monkeypatch.setattr(demo, "DETECTORS", (NeuralCleanse(steps=2),))


def test_it_asks_the_detectors_that_an_audit_asks_by_itself():
    assert [detector.name for detector in demo.DETECTORS] == list(DEFAULT_DETECTORS)


@pytest.mark.usefixtures("small")
def test_one_model_is_clean_one_is_marked_and_neither_is_made_twice(tmp_path):
    clean, backdoored = demo.demo(tmp_path, seed=3)
    weights = [shown.folder / "model.safetensors" for shown in (clean, backdoored)]
    before = [path.stat().st_mtime_ns for path in weights]

    assert (clean.success, clean.target) == (None, None)
    assert (backdoored.success.total, backdoored.target) == (56, 7)
    assert [bool(marked_backdoored(path)) for path in weights] == [False, True]
    assert (backdoored.folder / "model.truth.json").exists()
    assert [shown.record.model.file_name for shown in (clean, backdoored)] == ["model.safetensors"] * 2
    again = demo.demo(tmp_path, seed=3)
    assert [path.stat().st_mtime_ns for path in weights] == before
    assert again[1].success == backdoored.success
