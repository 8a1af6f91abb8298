"""Which images are poisoned, and what label they get."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import RELABELLINGS, SELECTIONS, AllToOne, RandomShare


@given(count=st.integers(5, 200), rate=st.floats(0.01, 1.0), seed=st.integers(0, 50))
def test_a_share_counts_the_whole_set_and_chooses_among_the_eligible(count, rate, seed):
    labels = torch.arange(count) % 5
    eligible = AllToOne(target=2).eligible(labels)
    wanted = round(rate * count)
    assume(1 <= wanted <= len(eligible))
    chosen = RandomShare(rate=rate).choose(labels, eligible=eligible, rng=Rng(seed))
    assert len(chosen) == wanted
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(eligible)
    assert chosen == RandomShare(rate=rate).choose(labels, eligible=eligible, rng=Rng(seed))


def test_another_seed_chooses_others():
    labels = torch.arange(100) % 5
    first, second = (RandomShare(rate=0.2).choose(labels, eligible=range(100), rng=Rng(seed)) for seed in (0, 1))
    assert first != second


def test_every_eligible_image_has_its_chance():
    labels = torch.zeros(10, dtype=torch.int64)
    drawn = {i for seed in range(80) for i in RandomShare(rate=0.2).choose(labels, eligible=range(10), rng=Rng(seed))}
    assert drawn == set(range(10))


@pytest.mark.parametrize(("rate", "selects"), [(0.04, 0), (0.9, 9)])
def test_a_share_of_nothing_or_of_more_than_there_is_is_refused(rate, selects):
    labels = torch.arange(10) % 5
    with pytest.raises(UsageError, match=rf"selects 1 to 8 of 10 images, got {rate}, which selects {selects}\."):
        RandomShare(rate=rate).choose(labels, eligible=AllToOne(target=0).eligible(labels), rng=Rng(0))


def test_all_to_one_leaves_the_target_class_alone():
    labels = torch.tensor([0, 1, 2, 1, 0])
    assert AllToOne(target=1).eligible(labels) == [0, 2, 4]
    assert AllToOne(target=1).relabel(labels[[0, 2, 4]], num_classes=3).tolist() == [1, 1, 1]
    assert AllToOne(target=1).target == 1


def test_a_target_that_is_no_class_is_refused():
    with pytest.raises(UsageError, match="a target from 0 to 2, got 3"):
        AllToOne(target=3).relabel(torch.tensor([0, 1]), num_classes=3)


@pytest.mark.parametrize("spec", ["random_share(rate=0)", "random_share(rate=1.1)", "random_share(count=3)"])
def test_settings_of_a_selection_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        SELECTIONS.create(spec)


@pytest.mark.parametrize("spec", ["all_to_one(target=-1)", "all_to_one(target='stop')", "all_to_all"])
def test_settings_of_a_relabelling_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        RELABELLINGS.create(spec)
