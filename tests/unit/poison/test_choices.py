"""Which images are poisoned, which label they get, on whom the attack is measured, and what counts as a success."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import (
    RELABELLINGS,
    SELECTIONS,
    AllToAll,
    AllToOne,
    CleanLabel,
    Exactly,
    RandomShare,
    SourceSpecific,
    Untargeted,
)

LABELS = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])


@given(count=st.integers(5, 200), rate=st.floats(0.01, 1.0), seed=st.integers(0, 50))
def test_a_share_counts_the_total_and_chooses_among_the_eligible(count, rate, seed):
    eligible = AllToOne(target=2).eligible(torch.arange(count) % 5)
    wanted = round(rate * count)
    assume(1 <= wanted <= len(eligible))
    chosen = RandomShare(rate=rate).choose(eligible, total=count, rng=Rng(seed))
    assert len(chosen) == wanted
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(eligible)
    assert chosen == RandomShare(rate=rate).choose(eligible, total=count, rng=Rng(seed))


@given(there=st.integers(1, 60), count=st.integers(1, 80), total=st.integers(1, 500))
def test_a_fixed_number_is_that_number_whatever_the_total_or_refused(there, count, total):
    eligible = range(3, 3 + 2 * there, 2)
    if count > there:
        with pytest.raises(UsageError, match=f"a count of at most {there}, .* got {count}"):
            Exactly(count=count).choose(eligible, total=total, rng=Rng(0))
    else:
        chosen = Exactly(count=count).choose(eligible, total=total, rng=Rng(0))
        assert len(set(chosen)) == count
        assert set(chosen) <= set(eligible)


@pytest.mark.parametrize("selection", [RandomShare(rate=0.2), Exactly(count=2)], ids=lambda s: s.name)
def test_every_eligible_image_has_its_chance(selection):
    drawn = [i for seed in range(120) for i in selection.choose(range(10), total=10, rng=Rng(seed))]
    assert set(drawn) == set(range(10))
    assert max(drawn.count(i) for i in range(10)) < 2.5 * min(drawn.count(i) for i in range(10))


@pytest.mark.parametrize(("rate", "selects"), [(0.04, 0), (0.9, 9)])
def test_a_share_of_nothing_or_of_more_than_there_is_is_refused(rate, selects):
    with pytest.raises(UsageError, match=rf"selects 1 to 8 of 10 images, got {rate}, which selects {selects}\."):
        RandomShare(rate=rate).choose(range(8), total=10, rng=Rng(0))


@pytest.mark.parametrize(
    "spec",
    [
        "random_share(rate=0)",
        "random_share(rate=1.1)",
        "random_share(count=3)",
        "exactly(count=0)",
        "exactly(count=1.5)",
        "exactly(rate=0.1)",
    ],
)
def test_settings_of_a_selection_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        SELECTIONS.create(spec)


OF_CLASS_2, NOT_OF_CLASS_2, ALL = [2, 5], [0, 1, 3, 4, 6, 7], list(range(8))


@pytest.mark.parametrize(
    ("aim", "target", "eligible", "total", "coverable", "attacked"),
    [
        (AllToOne(target=2), 2, NOT_OF_CLASS_2, 8, ALL, NOT_OF_CLASS_2),
        (CleanLabel(target=2), 2, OF_CLASS_2, 2, ALL, NOT_OF_CLASS_2),
        (SourceSpecific(target=2, sources=(1,)), 2, [1, 6], 8, [0, 3, 4, 7], [1, 6]),
        (SourceSpecific(target=2, sources=(3, 0)), 2, [0, 3, 4, 7], 8, [1, 6], [0, 3, 4, 7]),
        (AllToAll(), None, ALL, 8, ALL, ALL),
        (Untargeted(), None, ALL, 8, ALL, ALL),
    ],
    ids=lambda value: str(value) if hasattr(value, "name") else "",
)
def test_whom_an_attack_poisons_counts_covers_and_is_measured_on(aim, target, eligible, total, coverable, attacked):
    assert aim.target == target
    assert aim.eligible(LABELS) == eligible
    assert aim.total(LABELS) == total
    assert aim.coverable(LABELS) == coverable
    assert torch.nonzero(aim.attacked(LABELS)).flatten().tolist() == attacked


@pytest.mark.parametrize(
    ("aim", "labels"),
    [
        (AllToOne(target=2), [2] * 8),
        (CleanLabel(target=2), [2] * 8),
        (SourceSpecific(target=2, sources=(1,)), [2] * 8),
        (AllToAll(), [1, 2, 3, 0, 0, 3, 2, 1]),
        (AllToAll(shift=2), [2, 3, 0, 1, 1, 0, 3, 2]),
        (AllToAll(shift=-1), [3, 0, 1, 2, 2, 1, 0, 3]),
    ],
    ids=str,
)
def test_the_labels_that_poisoned_images_get_and_only_these_outcomes_count(aim, labels):
    assert aim.relabel(LABELS, num_classes=4, rng=Rng(0)).tolist() == labels
    for outcome in range(4):
        succeeds = aim.succeeds(torch.full((8,), outcome), LABELS, num_classes=4)
        assert succeeds.tolist() == [outcome == wanted for wanted in labels]


@given(classes=st.integers(2, 12), seed=st.integers(0, 1000))
def test_an_untargeted_label_is_never_the_right_one_and_each_wrong_one_is_as_likely(classes, seed):
    right = torch.arange(2000 * classes) % classes
    wrong = Untargeted().relabel(right, num_classes=classes, rng=Rng(seed))
    table = torch.zeros(classes, classes, dtype=torch.int64)
    table.index_put_((right, wrong), torch.ones_like(right), accumulate=True)
    assert int(table.diagonal().sum()) == 0
    share = 1 / (classes - 1)
    spread = (2000 * share * (1 - share)) ** 0.5
    others = table[~torch.eye(classes, dtype=torch.bool)]
    assert bool(((others - 2000 * share).abs() <= 8 * spread).all())
    assert bool(Untargeted().succeeds(wrong, right, num_classes=classes).all())
    assert not bool(Untargeted().succeeds(right, right, num_classes=classes).any())


def test_untargeted_labels_follow_the_seed():
    first, same, other = (Untargeted().relabel(LABELS.repeat(9), num_classes=4, rng=Rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("aim", "classes", "words"),
    [
        (AllToOne(target=4), 4, "a target from 0 to 3, got 4"),
        (CleanLabel(target=9), 4, "a target from 0 to 3, got 9"),
        (SourceSpecific(target=5, sources=(1,)), 4, "a target from 0 to 3, got 5"),
        (SourceSpecific(target=0, sources=(1, 4)), 4, "a source from 0 to 3, got 4"),
        (AllToAll(shift=8), 4, "no multiple of the 4 classes, got 8"),
        (AllToAll(), 1, "no multiple of the 1 classes, got 1"),
        (Untargeted(), 1, "at least 2 classes, got 1"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_classes_of_the_set_is_refused(aim, classes, words):
    with pytest.raises(UsageError, match=words):
        aim.relabel(LABELS, num_classes=classes, rng=Rng(0))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("all_to_one(target=-1)", "target of at least 0, got -1"),
        ("all_to_one(target='stop')", "target"),
        ("clean_label(target=-2)", "target of at least 0, got -2"),
        ("all_to_all(shift=0)", "shift other than 0, got 0"),
        ("all_to_all(target=1)", "'target'"),
        ("untargeted(target=1)", "'target'"),
        ("source_specific(sources=())", "sources with at least one class"),
        ("source_specific(sources=(1, -3))", "sources of at least 0, got -3"),
        ("source_specific(target=1, sources=(2, 1))", r"target other than the sources \(2, 1\), got 1"),
    ],
)
def test_settings_of_a_relabelling_out_of_range_are_refused(spec, words):
    with pytest.raises(SpecError, match=words):
        RELABELLINGS.create(spec)
