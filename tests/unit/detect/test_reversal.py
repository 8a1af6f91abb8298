"""What searches by arms have in common: the copy that they ask, the images that they take, the labels they finish."""

import dataclasses
from functools import partial

import pytest
import torch

from mantrap.core import Cost, Rng
from mantrap.detect import NeuralCleanse, UniversalPerturbation, begin, heldout, reversal
from mantrap.errors import SpecError
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import trigger_success
from tests.planted import Planted

PLANTED = Planted(shape=(1, 10, 12), classes=5, target=1)
SETTINGS = {
    "steps": 60,
    "images_per_step": 8,
    "finalists": 2,
    "final_steps": 20,
    "final_images": 32,
    "precision": "float32",
}
PATCHES, CHANGES = NeuralCleanse(**SETTINGS), UniversalPerturbation(**SETTINGS)
SCAN, HELDOUT = PLANTED.images(20, "scan"), PLANTED.images(8, "heldout")

either = pytest.mark.parametrize("settings", [PATCHES, CHANGES], ids=lambda s: s.name)


def scan(settings, *, heldout=HELDOUT, clean=SCAN, **keywords):
    return settings.detect(PLANTED.model(), clean, heldout=heldout, rng=Rng(2), **keywords)


@pytest.fixture(scope="module", params=[PATCHES, CHANGES], ids=lambda s: s.name)
def answer(request):
    return request.param, scan(request.param)


def test_every_label_has_a_norm_and_the_smallest_have_triggers(answer):
    _, found = answer
    norms = {f.label: f.norm for f in found.labels}

    assert list(norms) == [0, 1, 2, 3, 4]
    assert found.suspects[0] == PLANTED.target
    assert [t.target for t in found.triggers] == sorted(norms, key=norms.get)[:2]


def test_every_label_with_a_norm_has_a_trait_that_grows_with_it(answer):
    settings, found = answer
    norms = {f.label: f.norm for f in found.labels}

    assert found.traits == settings.traits(norms, PLANTED.shape)
    for values in found.traits.values():
        assert sorted(values, key=values.get) == sorted(norms, key=norms.get)


def test_the_sizes_have_no_p_value_of_their_own(answer):
    assert answer[1].p_value is None


def test_the_triggers_that_are_kept_are_measured_on_heldout_images(answer):
    _, found = answer

    assert [f.success is None for f in found.labels].count(False) == 2
    for trigger in found.triggers:
        expected = trigger_success(PLANTED.model(), HELDOUT, partial(put_on, trigger=trigger), trigger.target)
        assert found.finding_for(trigger.target).success == expected
    assert found.finding_for(PLANTED.target).success.value >= 0.95


def test_the_cost_is_that_of_search_finish_and_measuring(answer):
    settings, found = answer
    searched = 5 * settings.restarts * 60 * settings.images_per_step
    finished = 2 * 20 * settings.final_images
    least = searched + finished + 3 * len(HELDOUT) + 2 * 2 * len(SCAN)

    assert found.cost.backward == searched + finished
    assert least <= found.cost.forward <= least + 2 * (len(heldout.FACTORS) - 1) * len(SCAN)


def test_norms_are_measured_alike_for_all_labels_so_the_finish_does_not_change_them(answer):
    settings, found = answer
    other = scan(dataclasses.replace(settings, final_steps=120))

    assert [f.norm for f in other.labels] == [f.norm for f in found.labels]
    assert [t.norm for t in other.triggers] != [t.norm for t in found.triggers]


def triggers_after(settings, steps):
    """All labels' triggers after so many steps of the finish, and their success on the images of the search."""
    found = scan(dataclasses.replace(settings, finalists=5, final_steps=steps), heldout=SCAN)
    return {t.target: t.norm for t in found.triggers}, [f.success.value for f in found.labels if f.success]


def test_the_finish_makes_changes_fainter_that_were_larger_than_need_be(monkeypatch):
    monkeypatch.setattr(heldout, "FACTORS", (1.0,))
    (before, _), (after, _) = (triggers_after(CHANGES, steps) for steps in (1, 150))

    assert all(after[label] < 0.9 * before[label] for label in before)


def lax(settings):
    """A search that few images satisfy, and no finish: its triggers work too seldom."""
    return dataclasses.replace(settings, success_threshold=0.3, finalists=5, final_threshold=0.9, final_steps=1)


@either
def test_a_trigger_is_made_stronger_until_it_works_and_no_more(settings, monkeypatch):
    stronger = scan(lax(settings), heldout=SCAN)
    monkeypatch.setattr(heldout, "FACTORS", (1.0,))
    plain = scan(lax(settings), heldout=SCAN)

    assert min(f.success.value for f in plain.labels if f.success) < 0.9
    for trigger in stronger.triggers:
        works, before = (found.finding_for(trigger.target).success.value for found in (stronger, plain))
        assert works >= 0.9
        assert (trigger.norm > plain.trigger_for(trigger.target).norm) == (before < 0.9)


@either
def test_a_trigger_that_no_strength_makes_work_is_as_strong_as_it_works_best(settings, monkeypatch):
    never = dataclasses.replace(lax(settings), final_threshold=1.0)
    found = []
    for factors in ((1.0,), (1.0, 0.01), (0.01, 1.0, 0.02)):
        monkeypatch.setattr(heldout, "FACTORS", factors)
        found.append([t.norm for t in scan(never).triggers])

    assert found[0] == found[1] == found[2]


@either
def test_without_memory_for_the_finish_the_triggers_stay_as_they_were_found_and_a_note_says_so(settings, monkeypatch):
    def no_room(_):
        raise MemoryError

    kept = []
    real = reversal.UnitSearch.run
    monkeypatch.setattr(heldout, "FACTORS", (1.0,))
    monkeypatch.setattr(reversal.ArmSearch, "run", no_room)
    monkeypatch.setattr(reversal.UnitSearch, "run", lambda *a, **k: kept.append(real(*a, **k)) or kept[-1])
    found = scan(settings)

    assert found.notes == ("Memory ran out: the triggers shown were not searched any further.",)
    for place, trigger in enumerate(found.triggers):
        for name, tensors in kept[0].triggers.items():
            assert torch.equal(getattr(trigger, name), tensors[place])


@either
def test_an_error_of_the_finish_that_is_not_for_want_of_memory_passes(settings, monkeypatch):
    def broken(_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(reversal.ArmSearch, "run", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        scan(settings)


@either
def test_no_more_images_are_taken_than_wanted_and_they_are_drawn(settings, monkeypatch):
    taken = []
    real = reversal.UnitSearch
    monkeypatch.setattr(reversal, "UnitSearch", lambda m, images, *a: taken.append(images) or real(m, images, *a))
    for most in (7, 1000):
        scan(dataclasses.replace(settings, images=most, steps=2))
    everything = SCAN.images()
    drawn = [bool((everything == image).flatten(1).all(1).any()) for image in taken[0]]

    assert drawn == [True] * 7
    assert not torch.equal(taken[0], everything[:7])
    assert torch.equal(taken[1], everything)


@either
def test_the_precision_is_handed_on(settings, monkeypatch):
    asked = []
    real = begin.prepare
    monkeypatch.setattr(begin, "prepare", lambda *a, precision: asked.append(precision) or real(*a))
    for precision in ("auto", "float32"):
        scan(dataclasses.replace(settings, precision=precision, steps=2))

    assert asked == ["auto", "float32"]


@either
def test_where_no_label_has_a_norm_there_is_nothing_to_finish(settings):
    found = scan(dataclasses.replace(settings, steps=1))

    assert all(f.censored for f in found.labels)
    assert (found.triggers, found.suspects, found.score, found.indices) == ((), (), None, {})
    assert not any(found.traits.values())
    seen = 5 * settings.restarts * settings.images_per_step
    assert found.cost == Cost(seen, seen)


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
@pytest.mark.parametrize("kind", [NeuralCleanse, UniversalPerturbation])
def test_settings_out_of_range_are_refused(kind, bad, message):
    with pytest.raises(SpecError, match=message):
        kind(**bad)
