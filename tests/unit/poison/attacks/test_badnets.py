"""BadNets for every goal: which images carry which trigger, what they are labelled, and what the truth says."""

import pytest
import torch

from mantrap.core import ImageSet, Rng, spec_of
from mantrap.errors import SpecError, UsageError
from mantrap.measure import trigger_of
from mantrap.poison import ATTACKS, BadNets

LABELS = torch.arange(200) % 5
PAIR = ("patch", "patch(place='top_left', colour='black')")


def clean():
    pixels = torch.rand(200, 3, 10, 10, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    return ImageSet.from_array(pixels, LABELS, name="toy")


def plant(**options):
    return BadNets(**options).apply(clean(), rng=Rng(1))


def labels_of(poisoned, number=0):
    """Labels before and after of a backdoor's images."""
    index = list(poisoned.truth.backdoors[number].poisoned)
    return LABELS[index], poisoned.data.labels[index]


def carriers(poisoned, *, corner, value):
    """Indices of the images whose pixel in a corner has this value."""
    pixel = poisoned.data.images()[:, :, *corner]
    return set(torch.nonzero((pixel == value).all(1)).flatten().tolist())


WHITE = {"corner": (8, 8), "value": 1.0}
BLACK = {"corner": (1, 1), "value": 0.0}


def test_all_to_one_takes_images_of_the_other_classes_to_the_target():
    poisoned = plant(target=3, rate=0.2)
    before, after = labels_of(poisoned)
    assert len(before) == 40
    assert set(before.tolist()) == {0, 1, 2, 4}
    assert set(after.tolist()) == {3}
    assert carriers(poisoned, **WHITE) == set(poisoned.truth.backdoors[0].poisoned)
    assert poisoned.truth.attack == "badnets(target=3, rate=0.2)"


def test_all_to_all_takes_each_class_to_the_next():
    before, after = labels_of(plant(goal="all_to_all", rate=0.5))
    assert set(before.tolist()) == set(range(5))
    assert torch.equal(after, (before + 1) % 5)


def test_untargeted_takes_each_class_to_every_wrong_one():
    poisoned = plant(goal="untargeted", rate=0.9)
    before, after = labels_of(poisoned)
    assert {(a, b) for a, b in zip(before.tolist(), after.tolist(), strict=True)} == {
        (a, b) for a in range(5) for b in range(5) if a != b
    }
    assert poisoned.truth.backdoors[0].target is None


def test_source_specific_poisons_the_sources_and_covers_the_rest():
    poisoned = plant(goal="source_specific", target=0, sources=(1, 2), rate=0.1, cover_rate=0.15)
    (backdoor,) = poisoned.truth.backdoors
    before, after = labels_of(poisoned)
    covers = list(backdoor.covers)
    assert (len(before), len(covers)) == (20, 30)
    assert set(before.tolist()) == {1, 2}
    assert set(after.tolist()) == {0}
    assert set(LABELS[covers].tolist()) == {3, 4}
    assert torch.equal(poisoned.data.labels[covers], LABELS[covers])
    assert carriers(poisoned, **WHITE) == {*backdoor.poisoned, *covers}
    assert backdoor.relabelling == "source_specific(sources=(1, 2))"


def test_source_specific_without_covers():
    poisoned = plant(goal="source_specific", sources=(1,), rate=0.1, cover_rate=0.0)
    assert poisoned.truth.backdoors[0].covers == ()


def test_several_triggers_for_one_label_are_backdoors_of_their_own():
    poisoned = plant(trigger=PAIR, target=2, rate=0.1)
    first, second = poisoned.truth.backdoors
    assert (first.trigger, second.trigger) == PAIR
    assert (first.target, second.target) == (2, 2)
    assert len(first.poisoned) == len(second.poisoned) == 20
    assert carriers(poisoned, **WHITE) == set(first.poisoned)
    assert carriers(poisoned, **BLACK) == set(second.poisoned)
    assert not set(first.poisoned) & set(second.poisoned)
    stamped = trigger_of(poisoned.truth, 1, poisoned.tensors)(torch.full((1, 3, 10, 10), 0.5), rng=Rng(0))
    assert float(stamped[0, 0, 1, 1]) == 0.0


def test_several_labels_have_a_trigger_each():
    poisoned = plant(trigger=PAIR, target=(2, 4), rate=0.1)
    assert [backdoor.target for backdoor in poisoned.truth.backdoors] == [2, 4]
    assert [set(labels_of(poisoned, number)[1].tolist()) for number in (0, 1)] == [{2}, {4}]


def test_several_sources_specific_backdoors_have_covers_of_their_own():
    poisoned = plant(trigger=PAIR, target=(0, 1), goal="source_specific", sources=(2, 3), rate=0.05, cover_rate=0.05)
    named = [i for backdoor in poisoned.truth.backdoors for i in (*backdoor.poisoned, *backdoor.covers)]
    assert len(set(named)) == len(named) == 40


def test_a_further_trigger_leaves_the_first_backdoor_as_it_was():
    alone, both = plant(trigger=PAIR[0]), plant(trigger=PAIR)
    assert both.truth.backdoors[0] == alone.truth.backdoors[0]


def test_several_patches_on_one_image_are_one_backdoor():
    poisoned = plant(trigger=f"several(triggers={PAIR!r})")
    (backdoor,) = poisoned.truth.backdoors
    assert carriers(poisoned, **WHITE) == carriers(poisoned, **BLACK) == set(backdoor.poisoned)


@pytest.mark.parametrize(
    "options",
    [{"target": (2, 4), "trigger": PAIR}, {"trigger": ("patch",)}, {"goal": "source_specific", "sources": (1, 2)}],
    ids=str,
)
def test_its_spec_says_it_all(options):
    attack = BadNets(**options)
    assert ATTACKS.create(str(spec_of(attack))) == attack


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": (1, 2)}, r"target that is one label, or one for each of 1 triggers, got \(1, 2\)"),
        ({"trigger": PAIR, "target": (1,)}, r"one for each of 2 triggers, got \(1,\)"),
        ({"trigger": ("patch", "patch(size=4)")}, "trigger with at least one spec, and no trigger twice"),
        ({"trigger": ()}, "trigger with at least one spec"),
        ({"trigger": "patch(size=0)"}, "size of at least 1 pixel, got 0"),
        ({"target": -1}, "target of at least 0, got -1"),
        ({"rate": 0.0}, "rate in"),
        ({"cover_rate": 1.0}, "cover_rate in"),
        ({"goal": "source_specific"}, "sources for a source-specific goal, and for no other"),
        ({"sources": (1,)}, "sources for a source-specific goal, and for no other"),
        ({"goal": "source_specific", "target": 1, "sources": (1, 2)}, r"target other than the sources \(1, 2\), got 1"),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused(options, says):
    with pytest.raises(SpecError, match=says):
        BadNets(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trigger": "patch(size=11)"}, "a patch that fits into 10x10 pixels, got 11x11"),
        ({"target": 5}, "a target from 0 to 4, got 5"),
        ({"goal": "source_specific", "sources": (7,)}, "a source from 0 to 4, got 7"),
        ({"rate": 0.9}, "selects 1 to 160 of 200 images, got 0.9, which selects 180"),
        ({"rate": 0.45, "trigger": PAIR}, "selects 1 to 70 of 200 images, got 0.45, which selects 90"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_set_is_refused(options, says):
    with pytest.raises(UsageError, match=says):
        plant(**options)


def test_a_colour_for_three_channels_is_refused_on_grey_images():
    grey = ImageSet.from_array(clean().images()[:, :1], LABELS)
    with pytest.raises(UsageError, match="a colour of 1 or 1 values for images of 1 channels"):
        BadNets(trigger="patch(colour=(1.0, 0.0, 0.0))").apply(grey, rng=Rng(0))
