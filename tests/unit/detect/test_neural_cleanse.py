"""The fast search as a detector: the copy that it asks, the images that it takes, and the labels that it finishes."""

import dataclasses

import pytest
import torch

from mantrap.core import Cost, Rng
from mantrap.detect import NeuralCleanse, neural_cleanse
from mantrap.errors import SpecError
from mantrap.ops.scores import trigger_success
from mantrap.ops.stamp import stamp
from tests.planted import Planted

PLANTED = Planted(shape=(1, 10, 12), classes=5, target=1)
QUICK = NeuralCleanse(steps=60, finalists=2, final_steps=20, precision="float32")
SCAN, HELDOUT = PLANTED.images(20, "scan"), PLANTED.images(8, "heldout")


def scan(settings=QUICK, *, heldout=HELDOUT, clean=SCAN, **keywords):
    return settings.detect(PLANTED.model(), clean, heldout=heldout, rng=Rng(2), **keywords)


@pytest.fixture(scope="module")
def found():
    return scan()


def test_every_label_has_a_norm_and_the_smallest_have_triggers(found):
    norms = {f.label: f.norm for f in found.labels}

    assert list(norms) == [0, 1, 2, 3, 4]
    assert found.suspects[0] == PLANTED.target
    assert [t.target for t in found.triggers] == sorted(norms, key=norms.get)[:2]


def test_the_triggers_that_are_kept_are_measured_on_heldout_images(found):
    assert [f.success is None for f in found.labels].count(False) == 2
    for trigger in found.triggers:
        expected = trigger_success(
            PLANTED.model(), HELDOUT, lambda batch, t=trigger: stamp(batch, t.mask, t.pattern), trigger.target
        )
        assert found.finding_for(trigger.target).success == expected
    assert found.finding_for(PLANTED.target).success.value >= 0.95


def test_the_cost_is_that_of_search_finish_and_measuring(found):
    searched = 5 * QUICK.restarts * 60 * QUICK.images_per_step
    finished = 2 * 20 * QUICK.final_images

    assert found.cost == Cost(searched + finished + 2 * len(HELDOUT), searched + finished)


def test_norms_are_measured_alike_for_all_labels_so_the_finish_does_not_change_them(found):
    other = scan(dataclasses.replace(QUICK, final_steps=40))

    assert [f.norm for f in other.labels] == [f.norm for f in found.labels]
    assert [t.norm for t in other.triggers] != [t.norm for t in found.triggers]


def test_the_finish_makes_triggers_work_where_few_images_were_enough_for_the_search():
    lax = dataclasses.replace(QUICK, success_threshold=0.6, finalists=5, final_steps=60)
    none = dataclasses.replace(lax, final_threshold=0.01, final_steps=1)
    short, whole = ([f.success.value for f in scan(s, heldout=SCAN).labels] for s in (none, lax))

    assert sum(short) / 5 < 0.9
    assert sum(whole) / 5 > 0.95


def test_no_more_images_are_taken_than_wanted_and_they_are_drawn(monkeypatch):
    taken = []
    real = neural_cleanse.UnitSearch
    monkeypatch.setattr(neural_cleanse, "UnitSearch", lambda m, images, *a: taken.append(images) or real(m, images, *a))
    for most in (7, 1000):
        scan(dataclasses.replace(QUICK, images=most, steps=2))
    everything = SCAN.images()
    drawn = [bool((everything == image).flatten(1).all(1).any()) for image in taken[0]]

    assert drawn == [True] * 7
    assert not torch.equal(taken[0], everything[:7])
    assert torch.equal(taken[1], everything)


def test_the_precision_is_handed_on(monkeypatch):
    asked = []
    real = neural_cleanse.prepare
    monkeypatch.setattr(neural_cleanse, "prepare", lambda *a, precision: asked.append(precision) or real(*a))
    for precision in ("auto", "float32"):
        scan(dataclasses.replace(QUICK, precision=precision, steps=2))

    assert asked == ["auto", "float32"]


def test_where_no_label_has_a_norm_there_is_nothing_to_finish():
    found = scan(dataclasses.replace(QUICK, steps=1))

    assert all(f.censored for f in found.labels)
    assert (found.triggers, found.suspects, found.score, found.indices) == ((), (), None, {})
    assert found.cost == Cost(5 * 2 * 8, 5 * 2 * 8)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"images": 0}, "images of at least 1, got 0"),
        ({"finalists": 0}, "finalists of at least 1"),
        ({"final_steps": 0}, "final_steps of at least 1"),
        ({"final_images": 0}, "final_images of at least 1"),
        ({"final_threshold": 1.5}, r"final_threshold in \(0, 1\]"),
        ({"memory": 0.0}, "memory above 0 GiB"),
        ({"restarts": 0}, "restarts of at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(bad, message):
    with pytest.raises(SpecError, match=message):
        NeuralCleanse(**bad)
