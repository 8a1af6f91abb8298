import hashlib
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import ImageSet, Rng
from mantrap.data import check_labels, split
from mantrap.data.splits import sample
from mantrap.errors import DataError, UsageError

SHARES = {"search": 0.5, "heldout": 0.3}


def images_of(contents, labels=None, groups=None) -> ImageSet:
    pixels = np.array([np.frombuffer(hashlib.sha256(str(c).encode()).digest()[:4], np.uint8) for c in contents])
    return ImageSet.from_array(pixels.reshape(-1, 2, 2), labels, groups=groups)


rows = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 8)), min_size=12, max_size=50)


@given(rows, st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_split_is_a_partition_without_leaks_whatever_the_order(rows, seed, random):
    contents, labels, groups = ([*column] for column in zip(*rows, strict=True))
    groups = [f"g{g}" if g < 6 else f"alone{i}" for i, g in enumerate(groups)]
    images = images_of(contents, labels, groups)
    try:
        parts = split(images, {**SHARES, "rest": 0.2}, rng=Rng(seed))
    except UsageError:
        parts = None
    else:
        assert sum(map(len, parts.values())) == len(images)
        assert sorted(h for part in parts.values() for h in part.content_hashes) == sorted(images.content_hashes)
        for one, other in (("search", "heldout"), ("search", "rest"), ("heldout", "rest")):
            assert not set(parts[one].content_hashes) & set(parts[other].content_hashes)
            assert not set(parts[one].groups) & set(parts[other].groups)
    order = list(range(len(images)))
    random.shuffle(order)
    try:
        again = split(images.subset(order), {**SHARES, "rest": 0.2}, rng=Rng(seed))
    except UsageError:
        assert parts is None
    else:
        assert {k: sorted(v.content_hashes) for k, v in again.items()} == {
            k: sorted(v.content_hashes) for k, v in parts.items()
        }


def test_each_label_is_shared_out_and_the_rest_goes_nowhere():
    labels = [0] * 100 + [1] * 40 + [2] * 10
    parts = split(images_of(range(150), labels), SHARES, rng=Rng(0))
    assert Counter(parts["search"].labels.tolist()) == {0: 50, 1: 20, 2: 5}
    assert Counter(parts["heldout"].labels.tolist()) == {0: 30, 1: 12, 2: 3}


def test_small_classes_do_not_starve_a_small_part():
    parts = split(images_of(range(200), [i // 2 for i in range(200)]), {"most": 0.9, "few": 0.1}, rng=Rng(0))
    assert len(parts["few"]) == 20


def test_parts_keep_the_order_and_the_seed_chooses():
    images = images_of(range(100))
    first = split(images, SHARES, rng=Rng(0))["search"].content_hashes
    position = {h: i for i, h in enumerate(images.content_hashes)}
    assert [position[h] for h in first] == sorted(position[h] for h in first)
    assert split(images, SHARES, rng=Rng(0))["search"].content_hashes == first
    assert set(split(images, SHARES, rng=Rng(1))["search"].content_hashes) != set(first)


def test_images_without_labels_are_split_too():
    parts = split(images_of(range(10)), {"a": 0.7, "b": 0.3}, rng=Rng(0))
    assert (len(parts["a"]), len(parts["b"]), parts["a"].labels) == (7, 3, None)


def test_an_empty_part_is_refused_with_its_reason():
    with pytest.raises(UsageError, match=r"the part 'b' .* none out of 5 images, 1 different ones"):
        split(images_of([7] * 5), {"a": 0.5, "b": 0.5}, rng=Rng(0))
    with pytest.raises(UsageError, match="in 1 groups"):
        split(images_of(range(5), groups=["t"] * 5), {"a": 0.5, "b": 0.5}, rng=Rng(0))


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": 0.7, "b": 0.4}, {"a": -0.1}, {"a": float("nan")}])
def test_shares_out_of_range_are_refused(shares):
    with pytest.raises(UsageError, match="shares above 0 that sum to at most 1"):
        split(images_of(range(5)), shares, rng=Rng(0))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 60))
def test_a_sample_takes_of_each_label_its_share(labels, limit):
    index = sample(labels, len(labels), limit, rng=Rng(0))
    assert index == sorted(set(index))
    assert len(index) == min(limit, len(labels))
    taken, there = Counter(labels[i] for i in index), Counter(labels)
    assert all(abs(taken[k] - len(index) * there[k] / len(labels)) < 1 for k in there)


def test_a_sample_is_random_but_repeatable():
    assert sample(None, 1000, 10, rng=Rng(0)) == sample(None, 1000, 10, rng=Rng(0)) != list(range(10))
    assert sample([0] * 1000, 1000, 10, rng=Rng(0)) != sample([0] * 1000, 1000, 10, rng=Rng(1))
    with pytest.raises(UsageError, match="--limit of at least 1, got 0"):
        sample(None, 10, 0, rng=Rng(0))


def test_labels_outside_the_model_are_named_and_counted():
    images = images_of(range(6), [0, 1, 9, 12, 12, 2])
    check_labels(images, 13)
    check_labels(images.unlabelled(), 2)
    with pytest.raises(DataError, match=r"labels from 0 to 9, .* got 2 of 6 images with labels outside \(12\)"):
        check_labels(images, 10)
    with pytest.raises(DataError, match=r"\(9, 12\)"):
        check_labels(images.with_labels(torch.tensor([0, 1, 9, 12, 12, 2])), 3)
