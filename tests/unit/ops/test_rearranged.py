"""What is moved stays the same pixels: mirrored, turned, or in random order, mask and pattern together."""

import torch

from mantrap.core import Rng
from mantrap.ops.rearranged import elsewhere, shuffled

MASK = torch.arange(12.0).view(3, 4) / 11
PATTERN = torch.stack([MASK, 1 - MASK])


def test_elsewhere_is_mirrored_upside_down_and_both():
    masks = [mask for mask, _ in elsewhere(MASK, PATTERN)]

    assert [mask[0, 0] for mask in masks] == [MASK[0, 3], MASK[2, 0], MASK[2, 3]]
    for mask, pattern in elsewhere(MASK, PATTERN):
        assert torch.equal(pattern[0], mask)
        assert torch.equal(pattern[1], 1 - mask)


def test_shuffled_pixels_are_the_same_in_another_order_and_twice_as_opaque():
    mask, pattern = shuffled(MASK, PATTERN, Rng(0))

    assert torch.equal(pattern[0].flatten().sort().values, MASK.flatten())
    assert not torch.equal(pattern[0], MASK)
    assert torch.equal(mask, (2 * pattern[0]).clamp(max=1))
    assert torch.equal(pattern[1], 1 - pattern[0])


def test_the_order_is_that_of_the_stream():
    one, again, other = (shuffled(MASK, PATTERN, Rng(seed))[0] for seed in (0, 0, 1))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)
