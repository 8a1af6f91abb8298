"""L-BFGS in a box, beside closed forms and scipy's, one function at a time."""

import pytest
import torch
from torch.nn.functional import softplus

from mantrap.core import Rng
from mantrap.ops.boxed_lbfgs import Boxed, minimise

COUNT, SIZE = 12, 15
EXACT = {"evaluations": 400, "flat": 1e-7, "gain": 1e-13}


def drawn(*shape, name="drawn"):
    return torch.randn(shape, generator=Rng(0).child(name).torch(), dtype=torch.float64)


def sloped(values_of):
    """The function with its slope, by autograd."""

    def functions(points, rows):
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            values = values_of(points, rows)
            (slopes,) = torch.autograd.grad(values.sum(), points)
        return values.detach(), slopes

    return functions


def quadratic(points, rows):
    roots, shifts = drawn(COUNT, SIZE, SIZE, name="roots")[rows], drawn(COUNT, SIZE, name="shifts")[rows]
    return (roots @ (points - shifts)[..., None]).square().sum((1, 2))


def steep_and_flat(points, rows):
    return (torch.logspace(-2, 2, SIZE, dtype=torch.float64) * (points - drawn(COUNT, SIZE)[rows]).square()).sum(1)


def logistic(points, rows):
    scores = (drawn(COUNT, 20, SIZE, name="features")[rows] @ points[..., None])[..., 0]
    return softplus(scores).sum(1) + 0.01 * points.square().sum(1)


def bent_valley(points, rows):
    del rows
    return (100 * (points[:, 1:] - points[:, :-1] ** 2) ** 2 + (1 - points[:, :-1]) ** 2).sum(1)


def wavy(points, rows):
    waves = (drawn(COUNT, 20, SIZE, name="waves")[rows] @ points[..., None])[..., 0]
    return torch.tanh(waves).sum(1) + 0.1 * points.square().sum(1)


def start(low, high):
    return low + (high - low) * torch.rand(COUNT, SIZE, generator=Rng(1).torch(), dtype=torch.float64)


def theirs(functions, begin, low, high):
    """The values where scipy ends, and how often it asks, [n]."""
    optimize = pytest.importorskip("scipy.optimize")

    def alone(row):
        def function(point):
            value, slope = functions(torch.tensor(point)[None], torch.tensor([row]))
            return float(value), slope[0].numpy()

        options = {"maxiter": 400, "maxfun": 400, "ftol": 1e-13, "gtol": 1e-7}
        found = optimize.minimize(
            function, begin[row].numpy(), jac=True, method="L-BFGS-B", bounds=[(low, high)] * SIZE, options=options
        )
        return found.fun, found.nfev

    values, asked = zip(*(alone(row) for row in range(COUNT)), strict=True)
    return torch.tensor(values, dtype=torch.float64), torch.tensor(asked, dtype=torch.float64)


CONVEX = [(quadratic, 0.0, 1.0), (quadratic, -50.0, 50.0), (steep_and_flat, 0.0, 1.0), (logistic, -1.0, 1.0)]


@pytest.mark.parametrize(("values_of", "low", "high"), CONVEX)
def test_convex_functions_end_where_scipy_ends_after_about_as_many_evaluations(values_of, low, high):
    functions, begin = sloped(values_of), start(low, high)
    found = minimise(functions, begin, Boxed(low=low, high=high, **EXACT))
    values, asked = theirs(functions, begin, low, high)

    torch.testing.assert_close(found.values, values, atol=1e-6, rtol=1e-6)
    assert bool(found.settled.all())
    assert float(found.evaluations.double().mean()) <= 1.25 * float(asked.mean())
    at_an_end = (found.points == low) | (found.points == high)
    assert bool(at_an_end.any()) == (high <= 1.0)


@pytest.mark.parametrize(("values_of", "low", "high"), [(bent_valley, -0.5, 0.7), (wavy, 0.0, 1.0)])
def test_others_end_on_the_average_no_higher(values_of, low, high):
    functions, begin = sloped(values_of), start(low, high)
    found = minimise(functions, begin, Boxed(low=low, high=high, **EXACT))
    values, _ = theirs(functions, begin, low, high)
    spread = float(values.max() - values.min()) + 1e-6

    assert float(found.values.mean()) <= float(values.mean()) + 0.1 * spread
    _, slopes = functions(found.points, torch.arange(COUNT))
    assert float(((found.points - slopes).clamp(low, high) - found.points).abs().max()) < 1e-3


def test_the_nearest_point_of_the_box_is_found_bitwise_where_bounds_are_met():
    goal = drawn(COUNT, SIZE)
    found = minimise(sloped(lambda points, rows: (points - goal[rows]).square().sum(1)), start(0, 1), Boxed(**EXACT))

    outside = (goal < 0) | (goal > 1)
    assert torch.equal(found.points[outside], goal.clamp(0, 1)[outside])
    torch.testing.assert_close(found.points, goal.clamp(0, 1), atol=1e-6, rtol=0)


def test_no_point_that_is_asked_about_lies_outside_and_none_is_worse_than_the_start():
    low, high, asked = -0.25, 0.75, []

    def functions(points, rows):
        asked.append(points)
        return sloped(wavy)(points, rows)

    begin = start(-1, 2)
    found = minimise(functions, begin, Boxed(low=low, high=high))

    assert low <= float(torch.cat(asked).min()) <= float(torch.cat(asked).max()) <= high
    first, _ = sloped(wavy)(begin.clamp(low, high), torch.arange(COUNT))
    assert bool((found.values < first).all())
    again, _ = sloped(wavy)(found.points, torch.arange(COUNT))
    torch.testing.assert_close(found.values, again)


def test_functions_do_not_hang_on_each_other_and_are_not_asked_once_they_are_at_rest():
    begin, options, rows_asked = start(0, 1), Boxed(evaluations=60), []

    def functions(points, rows):
        rows_asked.append(rows)
        return sloped(wavy)(points, rows)

    together = minimise(functions, begin, options)
    for row in range(COUNT):

        def alone(points, rows, row=row):
            return sloped(wavy)(points, rows + row)

        torch.testing.assert_close(
            minimise(alone, begin[row : row + 1], options).points, together.points[row : row + 1]
        )
    assert torch.equal(torch.cat(rows_asked).bincount(minlength=COUNT), together.evaluations)
    assert len(set(together.evaluations.tolist())) > 1


@pytest.mark.parametrize("evaluations", [1, 2, 7])
def test_no_more_evaluations_than_allowed(evaluations):
    found = minimise(sloped(bent_valley), start(-2, 2), Boxed(low=-2, high=2, evaluations=evaluations))

    assert found.evaluations.tolist() == [evaluations] * COUNT
    assert not bool(found.settled.any())


def test_a_memory_is_what_makes_it_fast():
    asked = [
        minimise(sloped(steep_and_flat), start(0, 1), Boxed(memory=memory, **EXACT)).evaluations.double().mean()
        for memory in (1, 10)
    ]

    assert float(asked[1]) < 0.8 * float(asked[0])


def test_a_minimum_as_a_start_is_left_at_once():
    goal = drawn(COUNT, SIZE).clamp(0, 1)
    found = minimise(sloped(lambda points, rows: (points - goal[rows]).square().sum(1)), goal, Boxed())

    assert torch.equal(found.points, goal)
    assert found.evaluations.tolist() == [1] * COUNT
    assert bool(found.settled.all())


def test_no_functions_give_none():
    assert minimise(sloped(wavy), start(0, 1)[:0], Boxed()).points.shape == (0, SIZE)
