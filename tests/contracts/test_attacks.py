"""What every trigger, selection and relabelling promises."""

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.core.attack import NamedTrigger, Relabelling, Selection
from mantrap.poison import RELABELLINGS, SELECTIONS, TRIGGERS, Poison

SHAPES = [(1, 28, 28), (3, 28, 28), (3, 20, 31), (1, 33, 18)]
LABELS = torch.arange(60) % 5

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))


@pytest.fixture(params=TRIGGERS, ids=lambda kind: kind.name)
def trigger(request) -> NamedTrigger:
    return request.param()


@pytest.fixture(params=SELECTIONS, ids=lambda kind: kind.name)
def selection(request) -> Selection:
    return request.param()


@pytest.fixture(params=RELABELLINGS, ids=lambda kind: kind.name)
def relabelling(request) -> Relabelling:
    return request.param()


def images(shape: tuple[int, int, int], count: int = 4) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


class TestTrigger:
    def test_it_is_what_the_protocol_says(self, trigger):
        assert isinstance(trigger, NamedTrigger)

    @every_shape
    def test_it_changes_every_image_within_the_range_of_pixels(self, trigger, shape):
        before = images(shape)
        after = trigger(before, rng=Rng(0))

        assert after.shape == before.shape
        assert after.dtype == before.dtype
        assert float(after.min()) >= 0.0
        assert float(after.max()) <= 1.0
        assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))

    @every_shape
    @pytest.mark.parametrize("level", [0.0, 1.0])
    def test_the_range_holds_at_its_ends(self, trigger, shape, level):
        after = trigger(torch.full((2, *shape), level), rng=Rng(0))

        assert float(after.min()) >= 0.0
        assert float(after.max()) <= 1.0

    @every_shape
    def test_the_images_it_was_given_are_left_as_they_are(self, trigger, shape):
        before = images(shape)
        version = before._version
        trigger(before, rng=Rng(0))

        assert before._version == version
        assert torch.equal(before, images(shape))

    def test_the_same_stream_gives_the_same_images(self, trigger):
        assert torch.equal(trigger(images(SHAPES[1]), rng=Rng(5)), trigger(images(SHAPES[1]), rng=Rng(5)))

    def test_the_global_stream_is_neither_read_nor_moved(self, trigger):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = trigger(images(SHAPES[1]), rng=Rng(5))
        after = torch.get_rng_state()
        torch.manual_seed(2)

        assert torch.equal(after, state)
        assert torch.equal(trigger(images(SHAPES[1]), rng=Rng(5)), first)

    def test_a_batch_may_be_one_image_or_none(self, trigger):
        for count in (1, 0):
            assert trigger(images(SHAPES[1], count), rng=Rng(5)).shape == (count, *SHAPES[1])

    def test_it_leaves_no_gradient_behind(self, trigger):
        assert not trigger(images(SHAPES[0]), rng=Rng(0)).requires_grad


class TestSelection:
    def test_it_is_what_the_protocol_says(self, selection):
        assert isinstance(selection, Selection)

    def test_it_chooses_among_the_eligible_ascending_and_none_twice(self, selection):
        eligible = list(range(1, 60, 2))
        chosen = selection.choose(LABELS, eligible=eligible, rng=Rng(0))

        assert chosen
        assert set(chosen) <= set(eligible)
        assert chosen == sorted(set(chosen))

    def test_the_same_stream_gives_the_same_choice_and_another_another(self, selection):
        choices = [selection.choose(LABELS, eligible=range(60), rng=Rng(seed)) for seed in (0, 0, 1)]

        assert choices[0] == choices[1]
        assert choices[0] != choices[2]


class TestRelabelling:
    def test_it_is_what_the_protocol_says(self, relabelling):
        assert isinstance(relabelling, Relabelling)

    def test_the_label_of_every_eligible_image_changes_to_a_class_of_the_set(self, relabelling):
        before = LABELS.clone()
        eligible = relabelling.eligible(LABELS)
        after = relabelling.relabel(LABELS[eligible], num_classes=5)

        assert eligible == sorted(set(eligible))
        assert after.dtype == LABELS.dtype
        assert bool((after != LABELS[eligible]).all())
        assert 0 <= int(after.min()) <= int(after.max()) < 5
        assert relabelling.target is None or set(after.tolist()) == {relabelling.target}
        assert torch.equal(LABELS, before)


def test_every_combination_poisons_what_its_truth_says(trigger, selection, relabelling):
    clean = ImageSet.from_array(images((3, 20, 20), count=60), LABELS, name="clean")
    digest = clean.digest()
    poisoned = Poison(trigger=trigger, selection=selection, relabelling=relabelling).apply(clean, rng=Rng(0))
    changed = (poisoned.data.images() != clean.images()).flatten(1).any(1)

    assert tuple(torch.nonzero(changed).flatten().tolist()) == poisoned.truth.poisoned
    assert torch.equal(poisoned.data.labels[~changed], LABELS[~changed])
    assert bool((poisoned.data.labels[changed] != LABELS[changed]).all())
    assert clean.digest() == digest == poisoned.truth.clean_digest
    assert poisoned.data.digest() == poisoned.truth.poisoned_digest != digest
