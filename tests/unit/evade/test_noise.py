"""Noise that stands beside adversarial examples has their size, also where pictures are black and white."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.evade.noise import noisy
from mantrap.ops.projections import NORMS, norms

SIZES = {"linf": 0.2, "l2": 1.5, "l1": 6.0}
every_norm = pytest.mark.parametrize("norm", NORMS)


def strokes(count=6):
    """Pictures of black and white alone."""
    return torch.randint(0, 2, (count, 1, 8, 8), generator=Rng(1).torch()).float()


@every_norm
def test_it_has_its_size_after_it_is_clipped(norm):
    images = strokes()
    made = noisy(images, SIZES[norm], norm, Rng(0))

    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    torch.testing.assert_close(norms(made - images, norm), torch.full((6,), SIZES[norm]))


@every_norm
def test_every_image_may_have_a_size_of_its_own(norm):
    images = strokes(3)
    sizes = SIZES[norm] * torch.tensor([0.0, 0.5, 1.0])

    torch.testing.assert_close(norms(noisy(images, sizes, norm, Rng(0)) - images, norm), sizes)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_it_is_gaussian_where_there_is_room(norm):
    images = torch.full((1, 1, 100, 100), 0.5)
    change = (noisy(images, SIZES[norm], norm, Rng(0)) - images).flatten()
    scaled = change / change.std()

    assert abs(float(scaled.mean())) < 0.03
    assert float(scaled.pow(4).mean()) == pytest.approx(3, abs=0.15)


def test_for_the_largest_change_every_value_goes_all_the_way():
    images = torch.full((2, 1, 5, 5), 0.5)
    change = noisy(images, 0.25, "linf", Rng(0)) - images

    assert torch.equal(change.abs(), torch.full_like(change, 0.25))
    assert set(change.sign().flatten().tolist()) == {-1.0, 1.0}


def test_what_has_no_room_for_it_goes_as_far_as_it_can():
    made = noisy(strokes(1), 100.0, "l2", Rng(0))

    assert set(made.flatten().tolist()) == {0.0, 1.0}
