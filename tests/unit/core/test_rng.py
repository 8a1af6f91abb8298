"""Named streams: fixed for ever, apart from each other, and nobody else's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import Rng

names = st.text("abcdefgh_", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("stream", "number"),
    [
        (Rng(0), 2033344993903900207),
        (Rng(7).child("label", target=3).child("start"), 7543858680473199661),
    ],
)
def test_a_stream_is_the_same_for_ever(stream, number):
    """Records say how to get their numbers again; a change here breaks that for every record there is."""
    assert stream.integer() == number
    assert stream.torch().initial_seed() == number


@given(st.integers(), st.lists(names, max_size=4))
def test_a_number_fits_what_torch_and_numpy_take(seed, path):
    stream = Rng(seed)
    for name in path:
        stream = stream.child(name)

    assert 0 <= stream.integer() < 2**63


@given(
    st.integers(0, 9), names, st.dictionaries(names.filter(lambda name: name != "name"), st.integers(0, 9), max_size=3)
)
def test_the_order_of_keys_makes_no_difference_and_their_values_do(seed, name, keys):
    stream = Rng(seed).child(name, **keys)
    backwards = Rng(seed).child(name, **dict(reversed(keys.items())))

    assert stream == backwards
    assert hash(stream) == hash(backwards)
    for key in keys:
        assert Rng(seed).child(name, **(keys | {key: 10})).integer() != stream.integer()


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(names, max_size=3)), min_size=2, max_size=8, unique_by=repr))
def test_streams_of_other_seeds_or_names_are_others(places):
    numbers = set()
    for seed, path in places:
        stream = Rng(seed)
        for name in path:
            stream = stream.child(name)
        numbers.add(stream.integer())

    assert len(numbers) == len(places)


def test_asking_twice_gives_the_same_numbers():
    stream = Rng(3).child("x")
    draws = [torch.rand(5, generator=stream.torch()) for _ in range(2)]
    arrays = [stream.numpy().random(5) for _ in range(2)]

    assert torch.equal(*draws)
    assert np.array_equal(*arrays)
    assert not torch.equal(draws[0], torch.rand(5, generator=stream.child("y").torch()))


def test_a_child_does_not_move_its_parent():
    stream = Rng(3)
    before = stream.integer()
    stream.child("a").torch()

    assert stream.integer() == before
    assert stream.path == ()


def test_the_global_stream_is_this_one_inside_and_untouched_afterwards_also_after_an_error():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with Rng(5).as_global():
        inside = torch.rand(3)
    with pytest.raises(ZeroDivisionError), Rng(5).as_global():
        torch.rand(3, generator=None).div_(1 // 0)

    assert torch.equal(inside, torch.rand(3, generator=Rng(5).torch()))
    assert torch.equal(torch.get_rng_state(), state)
