"""One perturbation for all images: found where it is known, and far better than noise of the same size."""

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import DataError, UsageError
from mantrap.ops.pgd import Ascent, away, towards
from mantrap.ops.projections import norms, steepest
from mantrap.ops.scores import trigger_success
from mantrap.ops.universal import universal_perturbation
from tests.planted import Planted

PLANTED = Planted(shape=(1, 12, 10))
MODEL, IMAGES, TEST = PLANTED.model(), PLANTED.images(8, "search"), PLANTED.images(20, "test")
TARGET = 2
LED = IMAGES.with_labels(torch.full((len(IMAGES),), TARGET))
BALLS = [("linf", 0.15), ("l2", 1.6)]


def target_logit(model, images, labels):
    return model.logits(images)[:, TARGET]


def find(climb, images=LED, *, norm="linf", eps=0.15, seed=0, batch_size=8):
    ascent = Ascent(norm=norm, eps=eps, step=eps / 4, steps=40)
    return universal_perturbation(MODEL, images, climb=climb, ascent=ascent, batch_size=batch_size, rng=Rng(seed))


@pytest.mark.parametrize(("norm", "eps"), BALLS)
def test_for_a_linear_goal_it_is_the_steepest_direction(norm, eps):
    best = eps * steepest(PLANTED.templates[TARGET][None], norm)[0]
    torch.testing.assert_close(find(target_logit, norm=norm, eps=eps), best, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("norm", "eps"), [(norm, 2 * eps) for norm, eps in BALLS])
def test_it_leads_images_never_seen_to_the_target_and_noise_of_the_same_size_does_not(norm, eps):
    delta = find(towards, norm=norm, eps=eps)
    noise = eps * steepest(torch.randn(1, 1, 12, 10, generator=Rng(5).torch()), norm)[0]
    assert float(norms(delta[None], norm)) <= eps * (1 + 1e-6)
    assert trigger_success(MODEL, TEST, lambda images: (images + delta).clamp(0, 1), TARGET).value > 0.95
    assert trigger_success(MODEL, TEST, lambda images: (images + noise).clamp(0, 1), TARGET).value == 0.0


def test_away_from_labels_it_fools_all_classes_but_one_and_noise_fools_none():
    delta = find(lambda *given: away(*given).clamp(max=9), IMAGES, eps=0.3, batch_size=40)
    noise = 0.3 * torch.randn(delta.shape, generator=Rng(5).torch()).sign()
    right = []
    for added in (delta, noise):
        with MODEL.frozen(), torch.no_grad():
            right.append(int((MODEL.logits((TEST.images() + added).clamp(0, 1)).argmax(1) == TEST.labels).sum()))
    assert right[0] <= 0.25 * len(TEST)
    assert right[1] == len(TEST)


def test_it_is_not_stuck_where_all_images_are_black():
    black = ImageSet.from_array(torch.zeros(4, 1, 12, 10), torch.full((4,), TARGET))
    away_first = [0]

    def there_and_back(model, images, labels):
        """Down for some steps, below black, and then up."""
        away_first[0] += 1
        return target_logit(model, images, labels) * (-1 if away_first[0] <= 6 else 1)

    torch.testing.assert_close(find(there_and_back, black), 0.15 * PLANTED.templates[TARGET])


def test_the_model_is_shown_images_within_the_range_of_pixels():
    ends = ImageSet.from_array(PLANTED.templates.clamp(min=0), torch.full((5,), TARGET))
    shown = []

    def seen(model, images, labels):
        shown.append(images.detach())
        return target_logit(model, images, labels)

    find(seen, ends)
    assert (float(torch.cat(shown).min()), float(torch.cat(shown).max())) == (0.0, 1.0)


def test_it_is_the_streams_own():
    first, again, *others = (find(towards, seed=seed, batch_size=2) for seed in (0, 0, 1, 2, 3, 4, 5))
    assert torch.equal(first, again)
    # Each pixel ends at one edge or the other: two orders of so few images may well end alike, five hardly.
    assert not all(torch.equal(first, other) for other in others)


def test_without_labels_there_is_no_way_to_go():
    with pytest.raises(DataError, match="expected labels for search, got none"):
        find(towards, IMAGES.unlabelled())


def test_a_ball_larger_than_the_box_is_refused():
    with pytest.raises(UsageError, match=r"an eps of at most 10\.95"):
        find(towards, norm="l2", eps=11.0)
