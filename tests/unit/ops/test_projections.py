"""Balls and the box: what comes out lies inside, is the nearest point, and is as before where it lay inside already."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.ops.projections import (
    check_ball,
    norms,
    onto_ball,
    onto_box,
    onto_budget,
    require_ball,
    steepest,
    within_ball,
)

NORMS = ["linf", "l2"]
cases = given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 99),
    norm=st.sampled_from(NORMS),
    eps=st.floats(0.01, 3.0),
)
"""Perturbations of many shapes, some inside the ball and some outside."""


def drawn(shape, seed, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_norm_is_that_of_each_image_over_all_its_values():
    perturbations = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.5]]]])
    assert norms(perturbations, "linf").tolist() == [4.0, 0.5]
    assert norms(perturbations, "l2").tolist() == [5.0, 0.5]


@cases
def test_what_comes_out_lies_in_the_ball_and_what_lay_there_is_untouched(shape, seed, norm, eps):
    before = drawn(shape, seed)
    after = onto_ball(before, eps, norm)
    inside = norms(before, norm) <= eps
    assert after.shape == before.shape
    assert bool((norms(after, norm) <= eps * (1 + 1e-6)).all())
    assert torch.equal(after[inside], before[inside])
    torch.testing.assert_close(onto_ball(after, eps, norm), after)


@cases
def test_no_point_of_the_ball_is_nearer(shape, seed, norm, eps):
    before = drawn(shape, seed)
    after = onto_ball(before, eps, norm)
    for other in range(5):
        point = onto_ball(drawn(shape, 1000 + other), eps, norm)
        assert bool((norms(before - after, "l2") <= norms(before - point, "l2") + 1e-5).all())


@cases
def test_clipping_to_the_box_after_the_ball_leaves_neither(shape, seed, norm, eps):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    moved = onto_box(images + onto_ball(drawn(shape, seed + 1), eps, norm))
    assert bool(((moved >= 0) & (moved <= 1)).all())
    assert bool((norms(moved - images, norm) <= eps * (1 + 1e-5)).all())


@cases
def test_no_direction_of_norm_1_rises_faster_than_the_steepest(shape, seed, norm, eps):
    gradients = drawn(shape, seed, eps)
    best = steepest(gradients, norm)
    rise = (gradients * best).flatten(1).sum(1)
    dual = gradients.flatten(1).abs().sum(1) if norm == "linf" else norms(gradients, "l2")
    torch.testing.assert_close(norms(best, norm), torch.ones(shape[0]))
    torch.testing.assert_close(rise, dual)


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_gives_no_direction_and_a_tiny_one_a_whole_one(norm):
    gradients = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 1e-30)])
    assert norms(steepest(gradients, norm), norm).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("norm", NORMS)
def test_a_ball_is_filled_evenly(norm):
    like = torch.zeros(4000, 1, 1, 2)
    points = within_ball(like, 0.5, norm, Rng(0))
    lengths = norms(points, norm)
    assert float(lengths.max()) <= 0.5
    # In two dimensions a quarter of either ball lies within half its radius.
    assert float((lengths <= 0.25).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(points.mean(0).abs().max()) < 0.02
    assert torch.equal(points, within_ball(like, 0.5, norm, Rng(0)))
    assert not torch.equal(points, within_ball(like, 0.5, norm, Rng(1)))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.0), ("linf", 1.01), ("l2", -1.0), ("linf", float("nan"))])
def test_a_ball_that_is_none_is_refused(norm, eps):
    with pytest.raises(SpecError):
        require_ball(eps, norm)


def test_a_ball_may_reach_far_in_l2_as_an_image_has_many_values():
    require_ball(20.0, "l2")
    require_ball(1.0, "linf")


@pytest.mark.parametrize(("norm", "most"), [("linf", 1.0), ("l2", 6.0)])
def test_a_ball_larger_than_the_box_is_refused(norm, most):
    check_ball(most, norm, (1, 4, 9))
    with pytest.raises(UsageError, match=f"at most {most:g}.*got {most + 0.01}"):
        check_ball(most + 0.01, norm, (1, 4, 9))


masks = given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 99),
    share=st.floats(0.0, 1.2),
    ends=st.booleans(),
)
"""Masks of many shapes, a budget as a share of their pixels, and whether many values are 0 or 1."""


def masks_of(shape, seed, ends):
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (2 * drawn - 0.5).clamp(0, 1) if ends else drawn


def furthest(along, most):
    """The largest sum of ``along * y`` over all masks y in [0, 1] whose sum is at most ``most``: the best pixels."""
    falling = along.flatten(1).clamp_min(0).sort(dim=1, descending=True).values
    whole = torch.arange(falling.shape[1])
    return (falling * (most - whole).clamp(0, 1)).sum(1)


@masks
def test_what_keeps_to_a_budget_is_a_mask_and_no_such_mask_is_nearer(shape, seed, share, ends):
    before, most = masks_of(shape, seed, ends), share * shape[1] * shape[2]
    after = onto_budget(before, most)
    assert after.shape == before.shape
    assert bool(((after >= 0) & (after <= 1)).all())
    assert bool((after.sum((1, 2)) <= most + 1e-4).all())
    # The nearest point of a convex set is the one from which no way to another point leads towards the outside.
    away = before - after
    assert bool((furthest(away, most) - (away * after).sum((1, 2)) <= 1e-4).all())


@masks
def test_a_mask_that_keeps_to_its_budget_is_untouched_whatever_the_others_do(shape, seed, share, ends):
    before, most = masks_of(shape, seed, ends), share * shape[1] * shape[2]
    spent = before.sum((1, 2))
    assume(bool(((spent - most).abs() > 1e-4).all()))
    assert torch.equal(onto_budget(before, most)[spent < most], before[spent < most])


def test_of_a_budget_that_does_not_suffice_all_is_spent_and_what_stays_has_lost_alike():
    before = torch.tensor([[[0.9, 0.5], [0.2, 0.1]], [[0.3, 0.3], [0.3, 0.3]]])
    expected = torch.tensor([[[0.7, 0.3], [0.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]]])
    torch.testing.assert_close(onto_budget(before, 1.0), expected)
    assert not bool(onto_budget(before, 0.0).any())
