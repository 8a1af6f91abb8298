"""The best perturbation of a linear function, against a general optimiser and what can be worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, NonlinearConstraint, linprog, minimize

from mantrap.core import Rng
from mantrap.ops.linear_step import linear_step
from mantrap.ops.projections import NORMS, norms

every_norm = pytest.mark.parametrize("norm", NORMS)
EPS = {"linf": 0.3, "l2": 0.7, "l1": 1.1}


def drawn(seed, shape=(2, 1, 2, 3)):
    generator = Rng(seed).torch()
    return torch.rand(shape, generator=generator), torch.randn(shape, generator=generator)


def gains(moved, images, gradients):
    return ((moved - images) * gradients).flatten(1).sum(1)


def most(image, gradient, eps, norm):
    """The most that a general optimiser finds."""
    x, g = image.flatten().double().numpy(), gradient.flatten().double().numpy()
    if norm == "linf":
        return float(np.where(g > 0, np.minimum(eps, 1 - x) * g, -np.minimum(eps, x) * g).sum())
    if norm == "l1":  # d = up - down, both at least 0
        n = len(x)
        found = linprog(
            np.concatenate([-g, g]),
            A_ub=np.ones((1, 2 * n)),
            b_ub=[eps],
            bounds=[*zip([0] * n, 1 - x, strict=True), *zip([0] * n, x, strict=True)],
        )
        return -found.fun
    ball = NonlinearConstraint(lambda d: (d**2).sum(), -np.inf, eps**2, jac=lambda d: 2 * d[None])
    box = LinearConstraint(np.eye(len(x)), -x, 1 - x)
    found = minimize(
        lambda d: -(g @ d), np.zeros_like(x), jac=lambda _: -g, method="SLSQP", constraints=[ball, box], tol=1e-12
    )
    return -found.fun


@every_norm
@pytest.mark.parametrize("seed", range(20))
def test_nothing_within_ball_and_box_gains_more(norm, seed):
    images, gradients = drawn(seed)
    moved = linear_step(images, gradients, EPS[norm], norm)
    wanted = torch.tensor([most(*pair, EPS[norm], norm) for pair in zip(images, gradients, strict=True)])

    torch.testing.assert_close(gains(moved, images, gradients).double(), wanted.double(), atol=2e-5, rtol=1e-5)


@every_norm
def test_it_stays_within_ball_and_box(norm):
    images, gradients = drawn(3, (50, 3, 5, 4))
    for eps in (0.01, 0.5, 1.0):
        moved = linear_step(images.round(), gradients, eps, norm)

        assert float(moved.min()) >= 0.0
        assert float(moved.max()) <= 1.0
        assert float(norms(moved - images.round(), norm).max()) <= eps * (1 + 1e-5)


@every_norm
def test_it_spends_all_of_the_budget_where_there_is_room(norm):
    images, gradients = drawn(4, (5, 1, 8, 8))
    moved = linear_step(0.4 + 0.2 * images, gradients, 0.2, norm)

    torch.testing.assert_close(norms(moved - (0.4 + 0.2 * images), norm), torch.full((5,), 0.2))


def test_by_hand():
    images, gradients = torch.tensor([0.5, 0.9, 0.2, 0.5]).view(1, 1, 2, 2), torch.tensor([3.0, 4.0, -1.0, 0.0])
    step = lambda eps, norm: linear_step(images, gradients.view(1, 1, 2, 2), eps, norm).flatten()  # noqa: E731

    torch.testing.assert_close(step(0.3, "linf"), torch.tensor([0.8, 1.0, 0.0, 0.5]))
    # The steepest has room for 0.1, the next takes 0.2 of its 0.5.
    torch.testing.assert_close(step(0.3, "l1"), torch.tensor([0.7, 1.0, 0.2, 0.5]))
    # The second stops at 0.1; the first and the third share the rest as 3 to 1: 0.01 + rate ** 2 * 10 = 0.05.
    torch.testing.assert_close(step(0.05**0.5, "l2"), torch.tensor([0.5 + 3 * 0.004**0.5, 1.0, 0.2 - 0.004**0.5, 0.5]))


@every_norm
def test_without_a_slope_nothing_moves(norm):
    images, _ = drawn(5)

    assert torch.equal(linear_step(images, torch.zeros_like(images), 0.5, norm), images)


@every_norm
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_how_steep_the_whole_is_makes_no_difference(norm, scale):
    images, gradients = drawn(6)

    torch.testing.assert_close(
        linear_step(images, gradients * scale, 0.6, norm), linear_step(images, gradients, 0.6, norm)
    )


@every_norm
def test_a_ball_that_holds_the_box_leads_to_its_corner(norm):
    images, gradients = drawn(7)
    moved = linear_step(images, gradients, {"linf": 1.0}.get(norm, 100.0), norm)

    torch.testing.assert_close(moved, (gradients > 0).float())
