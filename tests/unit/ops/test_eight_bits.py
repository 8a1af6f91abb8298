"""Adversarial examples in whole grey levels, by hand and at random."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.ops.eight_bits import LEVELS, as_saved, beyond
from mantrap.ops.projections import NORMS, norms, onto_ball

EPS = {"linf": 0.1, "l2": 0.35, "l1": 1.3}
every_norm = pytest.mark.parametrize("norm", NORMS)


def row(*levels):
    return torch.tensor(levels).view(1, 1, 1, -1) / LEVELS


def drawn(seed, norm, count=200):
    """Pictures in whole levels, and others on the very edge of the ball around them."""
    generator = Rng(seed).torch()
    originals = torch.randint(40, 216, (count, 1, 4, 5), generator=generator) / LEVELS
    change = torch.randn(originals.shape, generator=generator)
    if norm == "l1":
        change = change / norms(change, "l1").view(-1, 1, 1, 1) * EPS["l1"]
    else:
        change = onto_ball(change * 100, EPS[norm], norm)
    return originals + change, originals


def test_changes_are_rounded_to_the_nearest_level():
    saved = as_saved(row(10.4, 10.6, 255.0, -0.0), row(10, 10, 254, 0))

    assert torch.equal(saved, row(10, 11, 255, 0))


def test_no_value_goes_farther_than_is_allowed():
    saved = as_saved(row(12.6, 7.4, 11.6, 10.0), row(10, 10, 10, 10), eps=2.7 / LEVELS)

    assert torch.equal(saved, row(12, 8, 12, 10))


@pytest.mark.parametrize("level", range(1, 256))
def test_a_budget_of_whole_levels_may_be_spent_to_the_last(level):
    eps = level / LEVELS
    saved = as_saved(row(0.0) + eps, row(0), eps=eps)

    assert torch.equal(saved, row(level))
    assert beyond(saved, row(0), eps, "linf") == 0


def test_where_the_nearest_levels_would_be_too_far_what_was_rounded_up_the_most_is_cut_off():
    # Of length 1.0817: rounded to (1, 1) it would be 1.414 levels long, with the second cut off it is (1, 0).
    saved = as_saved(row(10.9, 10.59), row(10, 10), eps=1.09 / LEVELS, norm="l2")
    torch.testing.assert_close(saved, row(11, 10))

    # Of sum 4.9; (1, 2, -3) is 6, (0, 2, -3) is 5 and would still be too far for 4.9.
    saved = as_saved(row(10.55, 11.6, 7.25), row(10, 10, 10), eps=4.9 / LEVELS, norm="l1")
    torch.testing.assert_close(saved, row(10, 11, 7))

    saved = as_saved(row(11.0, 10.6), row(10, 10), eps=1.2 / LEVELS, norm="l2")
    torch.testing.assert_close(saved, row(11, 10))


@every_norm
def test_the_budget_is_kept_by_every_picture_and_most_of_it_spent(norm):
    perturbed, originals = drawn(1, norm)
    saved = as_saved(perturbed, originals, eps=EPS[norm], norm=norm)

    assert beyond(saved, originals, EPS[norm], norm) == 0
    assert torch.equal((saved * LEVELS).round() / LEVELS, saved)
    assert float(norms(saved - originals, norm).mean()) > 0.97 * EPS[norm]


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_a_budget_that_many_values_share_is_not_lost_to_rounding(norm):
    # Each value goes by 1.55 levels in the mean: were all rounded towards the original, a third would be lost.
    generator = Rng(4).torch()
    originals = torch.full((3, 3, 32, 32), 100 / LEVELS)
    change = (1.1 + 0.9 * torch.rand(originals.shape, generator=generator)) / LEVELS
    eps = float(norms(change, norm).amin())
    saved = as_saved(originals + change, originals, eps=eps, norm=norm)

    assert beyond(saved, originals, eps, norm) == 0
    assert float(norms(saved - originals, norm).amin()) > 0.999 * eps


@pytest.mark.parametrize(("level", "less"), [(8, 5e-7), (200, 3e-7)])
@every_norm
def test_a_budget_that_is_written_with_few_digits_holds_no_picture_that_is_beyond_it(level, less, norm):
    eps = level / LEVELS - less / 3
    saved = as_saved(row(0, 0) + row(level, 0), row(0, 0), eps=eps, norm=norm)

    assert torch.equal(saved, row(level, 0))
    assert beyond(saved, row(0, 0), eps, norm) == 0


@every_norm
def test_what_is_beyond_is_counted(norm):
    perturbed, originals = drawn(2, norm, count=50)
    nearest = as_saved(perturbed, originals)
    wanted = sum(
        float(norms((one - other)[None].double(), norm)) > EPS[norm] + 1e-6
        for one, other in zip(nearest, originals, strict=True)
    )

    assert beyond(nearest, originals, EPS[norm], norm) == wanted
    assert norm == "linf" or wanted > 0


def test_pictures_stay_within_the_range():
    saved = as_saved(row(-0.4, 255.3), row(0, 255), eps=1 / LEVELS, norm="l2")

    assert torch.equal(saved, row(0, 255))
