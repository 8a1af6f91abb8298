"""What every trigger, selection, relabelling and preparation promises; a new one is covered by its line."""

from functools import lru_cache

import pytest
import torch

from mantrap.core import Rng
from mantrap.core.attack import LearnedTrigger, NamedTrigger, Preparation, Relabelling, Selection, StoredTrigger
from mantrap.errors import UsageError
from mantrap.poison import PREPARATIONS, RELABELLINGS, SELECTIONS, TRIGGERS, AllToOne, Patch, Poison, RandomShare
from tests.poisoning import (
    CLASSES,
    LABELS,
    SETS,
    assert_a_trigger_is_sound,
    assert_the_truth_is_true,
    changed,
    classifier,
    for_each,
    for_each_shape,
    image_set,
    noise,
    unmoved,
)

SHAPES = [(1, 28, 28), (3, 28, 28), (3, 20, 31), (1, 33, 18)]
LEARNED = [kind for kind in TRIGGERS if isinstance(kind(), LearnedTrigger)]
READY = [kind for kind in TRIGGERS if kind in LEARNED or not isinstance(kind(), StoredTrigger)]
"""Triggers that are there before a training; the others come out of one, and are looked at where attacks are."""


INVISIBLE = {"no_trigger"}
"""What is no mark on an image at all."""


def made(kind):
    """The default; what takes many steps takes three of them."""
    return kind(steps=3) if hasattr(kind, "steps") else kind()


@lru_cache
def ready_trigger(kind, shape):
    trigger = made(kind)
    if not isinstance(trigger, LearnedTrigger):
        return trigger
    return trigger.restore(trigger.learn(image_set(shape), model=classifier(shape), target=0, rng=Rng(0)))


class TestTrigger:
    @for_each(TRIGGERS)
    def test_it_is_what_the_protocol_says(self, kind):
        assert isinstance(kind(), NamedTrigger) != isinstance(kind(), StoredTrigger)

    @for_each(READY)
    @for_each_shape(SHAPES)
    def test_it_is_sound_and_changes_every_image(self, kind, shape):
        trigger, before = ready_trigger(kind, shape), noise(shape)
        after = trigger(before, rng=Rng(0))

        assert_a_trigger_is_sound(trigger, shape)
        assert all(torch.equal(a, b) == (kind.name in INVISIBLE) for a, b in zip(after, before, strict=True))

    @for_each(READY)
    def test_the_global_stream_is_neither_read_nor_moved(self, kind, capsys):
        trigger = ready_trigger(kind, SHAPES[1])
        torch.manual_seed(1)
        with unmoved(capsys, model=classifier(SHAPES[1])):
            first = trigger(noise(SHAPES[1]), rng=Rng(5))
        torch.manual_seed(2)

        assert torch.equal(trigger(noise(SHAPES[1]), rng=Rng(5)), first)

    @for_each(LEARNED)
    def test_learning_leaves_everything_alone_and_gives_the_same_for_the_same_stream(self, kind, capsys):
        model, data = classifier(SETS[0]), image_set(SETS[0])
        with unmoved(capsys, model=model, data=data):
            first, second = (made(kind).learn(data, model=model, target=1, rng=Rng(3)) for _ in range(2))

        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)

    @for_each(LEARNED)
    def test_without_a_model_or_a_target_it_learns_or_says_what_it_needs(self, kind):
        for have in ({"model": None, "target": 1}, {"model": classifier(SETS[0]), "target": None}):
            try:
                made(kind).restore(made(kind).learn(image_set(SETS[0]), rng=Rng(0), **have))
            except UsageError as error:
                assert (next(name for name, value in have.items() if value is None)) in str(error)  # noqa: PT017

    @for_each(READY)
    @for_each_shape(SETS)
    def test_a_poison_of_it_changes_what_its_truth_says(self, kind, shape):
        data = image_set(shape)
        poison = Poison(trigger=made(kind), selection=RandomShare(rate=0.25), relabelling=AllToOne(target=1))
        poisoned = poison.apply(data, model=classifier(shape), rng=Rng(0))

        assert_the_truth_is_true(data, poisoned)
        assert changed(data, poisoned.data) == set(poisoned.truth.backdoors[0].poisoned)


class TestSelection:
    @for_each(SELECTIONS)
    def test_it_chooses_among_the_eligible_ascending_and_none_twice(self, kind):
        eligible = range(1, 60, 2)
        chosen = kind().choose(eligible, total=60, rng=Rng(0))

        assert isinstance(kind(), Selection)
        assert chosen
        assert set(chosen) <= set(eligible)
        assert chosen == sorted(set(chosen))

    @for_each(SELECTIONS)
    def test_the_same_stream_gives_the_same_choice_and_another_another(self, kind):
        first, same, other = (kind().choose(range(60), total=60, rng=Rng(seed)) for seed in (0, 0, 1))

        assert first == same
        assert first != other

    @for_each(SELECTIONS)
    def test_more_than_there_are_is_refused(self, kind):
        with pytest.raises(UsageError):
            kind().choose([3], total=600, rng=Rng(0))


class TestRelabelling:
    @for_each(RELABELLINGS)
    def test_what_it_relabels_to_is_a_success_and_what_is_there_already_is_none(self, kind):
        aim = kind()
        attacked = LABELS[aim.attacked(LABELS)]
        outcomes = aim.relabel(attacked, num_classes=CLASSES, rng=Rng(0))

        assert isinstance(aim, Relabelling)
        assert len(attacked) > 0
        assert bool(aim.succeeds(outcomes, attacked, num_classes=CLASSES).all())
        assert not bool(aim.succeeds(attacked, attacked, num_classes=CLASSES).any())

    @for_each(RELABELLINGS)
    def test_labels_are_classes_of_the_set_and_all_the_target_where_there_is_one(self, kind):
        aim, before = kind(), LABELS.clone()
        eligible = aim.eligible(LABELS)
        first, second = (aim.relabel(LABELS[eligible], num_classes=CLASSES, rng=Rng(2)) for _ in range(2))

        assert eligible == sorted(set(eligible))
        assert 1 <= len(eligible) <= aim.total(LABELS) <= len(LABELS)
        assert first.dtype == LABELS.dtype
        assert set(first.tolist()) <= set(range(CLASSES))
        assert aim.target is None or set(first.tolist()) == {aim.target}
        assert torch.equal(first, second)
        assert torch.equal(LABELS, before)

    @for_each(RELABELLINGS)
    def test_covers_are_images_of_the_set(self, kind):
        coverable = kind().coverable(LABELS)

        assert coverable == sorted(set(coverable))
        assert set(coverable) <= set(range(len(LABELS)))

    @for_each(RELABELLINGS)
    @for_each(SELECTIONS, "selection")
    def test_a_poison_of_it_changes_what_its_truth_says(self, kind, selection):
        data = image_set(SETS[0])
        poison = Poison(trigger=Patch(), selection=selection(), relabelling=kind())

        assert_the_truth_is_true(data, poison.apply(data, rng=Rng(0)))


@for_each(PREPARATIONS)
@for_each_shape(SETS)
def test_a_preparation_changes_images_alone_and_always_alike(kind, shape, capsys):
    model, before, labels = classifier(shape), noise(shape), torch.tensor([0, 1, 2, 3])
    with unmoved(capsys, model=model):
        first, second = (made(kind).prepare(before, labels, model=model, rng=Rng(0)) for _ in range(2))

    assert isinstance(kind(), Preparation)
    assert torch.equal(before, noise(shape))
    assert torch.equal(first, second)
    assert first.shape == before.shape
    assert not first.requires_grad
    assert bool(((first >= 0) & (first <= 1)).all())
    assert not torch.equal(first, before)
