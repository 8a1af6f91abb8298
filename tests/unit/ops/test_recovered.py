"""What is moved stays the same pixels, mirrored, turned or shuffled; what is taken off leaves what was below it."""

import pytest
import torch

from mantrap.core import ReversedPatch, ReversedPerturbation, ReversedWarp, Rng
from mantrap.ops.recovered import elsewhere, put_on, shuffled, stronger, taken_off
from mantrap.ops.stamp import stamp
from mantrap.ops.warp import warp

MASK = torch.arange(12.0).view(3, 4) / 11
PATCH = ReversedPatch(5, MASK, torch.stack([MASK, 1 - MASK]))
CHANGE = ReversedPerturbation(5, torch.stack([MASK - 0.5, 0.5 - MASK]))
BEND = ReversedWarp(5, torch.stack([2 * MASK - 1, 0.5 - 3 * MASK.flip(-1)]))

every_kind = pytest.mark.parametrize("trigger", [PATCH, CHANGE, BEND], ids=["patch", "perturbation", "warp"])
either = pytest.mark.parametrize("trigger", [PATCH, CHANGE], ids=["patch", "perturbation"])


def first(trigger):
    """The tensor that says where the trigger is: every pixel of it is another number."""
    if isinstance(trigger, ReversedWarp):
        return trigger.flow[0]
    return trigger.mask if isinstance(trigger, ReversedPatch) else trigger.delta[0]


def images():
    return torch.rand(4, 2, 3, 4, generator=Rng(0).torch())


def test_a_patch_is_put_on_through_its_mask():
    assert torch.equal(put_on(images(), PATCH), stamp(images(), PATCH.mask, PATCH.pattern))


def test_a_perturbation_is_added_and_cut_to_the_range_of_pixels():
    changed = put_on(images(), CHANGE)

    assert torch.equal(changed, (images() + CHANGE.delta).clamp(0, 1))
    assert not torch.equal(changed, images() + CHANGE.delta)


def test_a_warp_moves_the_pixels_of_all_images_alike():
    bent = put_on(images(), BEND)

    assert torch.equal(bent, warp(images(), BEND.flow.expand(4, 2, 3, 4)))
    assert not torch.allclose(bent, images(), atol=0.1)


def test_a_warp_is_as_large_as_pixels_move_in_the_root_mean_square():
    flow = torch.zeros(2, 2, 3)
    flow[:, 0, 1] = torch.tensor([3.0, -4.0])

    assert ReversedWarp(5, flow).norm == pytest.approx((25 / 6) ** 0.5)
    assert ReversedWarp(5, torch.stack([torch.full((2, 3), 0.6), torch.full((2, 3), -0.8)])).norm == pytest.approx(1.0)


@every_kind
def test_the_images_stay_as_they_are(trigger):
    given = images()
    put_on(given, trigger)

    assert torch.equal(given, images())


@either
def test_elsewhere_is_mirrored_upside_down_and_both(trigger):
    places, values = elsewhere(trigger), first(trigger)

    assert [first(there)[0, 0] for there in places] == [values[0, 3], values[2, 0], values[2, 3]]
    assert {(type(there), there.target) for there in places} == {(type(trigger), 5)}


def test_mask_and_pattern_and_all_channels_move_together():
    for there in elsewhere(PATCH):
        assert torch.equal(there.pattern, torch.stack([there.mask, 1 - there.mask]))
    for there in elsewhere(CHANGE):
        assert torch.equal(there.delta[1], -there.delta[0])


def test_a_warp_elsewhere_does_to_images_that_are_turned_alike_what_it_does_to_images():
    pixels = torch.rand(4, 3, 5, 7, generator=Rng(1).torch())
    bend = ReversedWarp(5, 2 * torch.randn(2, 5, 7, generator=Rng(2).torch()))
    for there, sides in zip(elsewhere(bend), ((-1,), (-2,), (-2, -1)), strict=True):
        assert (type(there), there.target, there.norm) == (ReversedWarp, 5, pytest.approx(bend.norm))
        assert torch.allclose(put_on(pixels.flip(sides), there), put_on(pixels, bend).flip(sides), atol=1e-5)
        assert not torch.allclose(put_on(pixels, there), put_on(pixels, bend), atol=0.1)


def test_a_warp_that_is_mirrored_twice_is_as_it_was():
    for place in range(3):
        assert torch.equal(elsewhere(elsewhere(BEND)[place])[place].flow, BEND.flow)


def test_a_stronger_patch_is_more_opaque_as_far_as_pixels_allow():
    found = stronger(PATCH, 1.5)

    assert found.target == 5
    assert torch.equal(found.mask, (1.5 * MASK).clamp(max=1))
    assert torch.equal(found.pattern, PATCH.pattern)
    assert torch.equal(stronger(PATCH, 1.0).mask, MASK)


def test_a_stronger_perturbation_changes_more_as_far_as_pixels_allow():
    found = stronger(CHANGE, 3.0)

    assert found.target == 5
    assert torch.equal(found.delta, (3 * CHANGE.delta).clamp(-1, 1))
    assert (float(found.delta.min()), float(found.delta.max())) == (-1.0, 1.0)


def test_a_stronger_warp_moves_pixels_farther_with_no_end():
    found = stronger(BEND, 2.0)

    assert found.target == 5
    assert torch.equal(found.flow, 2 * BEND.flow)
    assert found.norm == pytest.approx(2 * BEND.norm)
    assert float(stronger(BEND, 9.0).flow.max()) > 4


def test_a_shuffled_patch_has_the_same_pixels_in_another_order_and_is_twice_as_opaque():
    moved = shuffled(PATCH, Rng(0))

    assert moved.target == 5
    assert torch.equal(moved.pattern[0].flatten().sort().values, MASK.flatten())
    assert not torch.equal(moved.pattern[0], MASK)
    assert torch.equal(moved.mask, (2 * moved.pattern[0]).clamp(max=1))
    assert torch.equal(moved.pattern[1], 1 - moved.pattern[0])


def test_a_shuffled_perturbation_has_the_same_changes_in_another_order_and_twice_as_strong():
    strong = ReversedPerturbation(5, 1.5 * CHANGE.delta)
    moved = shuffled(strong, Rng(0))

    assert moved.target == 5
    assert torch.equal(moved.delta[1], -moved.delta[0])
    assert not torch.equal(moved.delta[0], (2 * strong.delta[0]).clamp(-1, 1))
    assert torch.equal(moved.delta[0].flatten().sort().values, (2 * strong.delta[0]).clamp(-1, 1).flatten())
    assert (float(moved.delta.min()), float(moved.delta.max())) == (-1.0, 1.0)


def test_a_shuffled_warp_has_the_same_vectors_in_another_order_and_twice_as_long():
    moved = shuffled(BEND, Rng(0))
    before, after = (sorted(map(tuple, flow.flatten(1).T.tolist())) for flow in (2 * BEND.flow, moved.flow))

    assert moved.target == 5
    assert after == before
    assert not torch.equal(moved.flow, 2 * BEND.flow)


@every_kind
def test_the_order_is_that_of_the_stream(trigger):
    one, again, other = (first(shuffled(trigger, Rng(seed))) for seed in (0, 0, 1))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)


class TestTakenOff:
    FILLING = torch.rand(2, 3, 4, generator=Rng(9).torch())

    def test_a_patch_is_covered_by_the_filling_thrice_as_opaque_as_it_is(self):
        bare = taken_off(images(), PATCH, self.FILLING)

        assert torch.equal(bare, stamp(images(), (3 * MASK).clamp(max=1), self.FILLING))
        assert torch.equal(bare[:, :, 0, 0], images()[:, :, 0, 0])
        assert torch.equal(bare[:, :, 1:], self.FILLING[:, 1:].expand(4, 2, 2, 4))
        assert not torch.allclose(bare[:, :, 0, 1:], self.FILLING[:, 0, 1:].expand(4, 2, 3), atol=0.01)

    def test_a_covered_patch_leaves_nothing_of_what_it_was(self):
        black = ReversedPatch(5, MASK, torch.zeros(2, 3, 4))

        assert torch.equal(taken_off(images(), PATCH, self.FILLING), taken_off(images(), black, self.FILLING))

    def test_a_perturbation_is_subtracted_and_cut_to_the_range_of_pixels(self):
        bare = taken_off(images(), CHANGE, self.FILLING)

        assert torch.equal(bare, (images() - CHANGE.delta).clamp(0, 1))
        assert (float(bare.min()), float(bare.max())) == (0.0, 1.0)

    def test_what_a_perturbation_changed_within_that_range_is_as_it_was(self):
        grey = 0.5 + 0.1 * images()
        faint = ReversedPerturbation(5, 0.5 * CHANGE.delta)

        assert torch.allclose(taken_off(put_on(grey, faint), faint, self.FILLING), grey, atol=1e-6)

    def test_a_warp_is_bent_the_other_way(self):
        shift = ReversedWarp(5, torch.stack([torch.ones(3, 4), torch.zeros(3, 4)]))

        assert torch.equal(taken_off(images(), BEND, self.FILLING), warp(images(), -BEND.flow[None]))
        back = taken_off(put_on(images(), shift), shift, self.FILLING)
        assert torch.allclose(back[..., 1:-1], images()[..., 1:-1], atol=1e-5)
        assert not torch.allclose(put_on(images(), shift)[..., 1:-1], images()[..., 1:-1], atol=0.1)

    @every_kind
    def test_images_trigger_and_filling_stay_as_they_are(self, trigger):
        given, filling, values = images(), self.FILLING.clone(), first(trigger).clone()
        taken_off(given, trigger, filling)

        assert torch.equal(given, images())
        assert torch.equal(filling, self.FILLING)
        assert torch.equal(first(trigger), values)
