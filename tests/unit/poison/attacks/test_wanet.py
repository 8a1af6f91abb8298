"""What WaNet trains on: some images warped with the target as their label, some warped otherwise with their own."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from mantrap.core import Rng
from mantrap.poison.attacks.joint import Shares
from mantrap.poison.attacks.wanet import WarpedBatches
from mantrap.poison.triggers.warp import Warp
from tests.linear import Watched

SHAPE, TARGET, STRENGTH = (2, 10, 15), 1, 2.0
LABELS = torch.arange(20) % 4
IMAGES = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0))
TRIGGER = Warp(seed=5, strength=STRENGTH)
POISONED, NOISY, LEFT = [0, 2, 3, 4], [1, 5, 6, 7, 8, 9, 10, 11], list(range(12, 20))


def batch(seed=0):
    """The loss of a batch, and what the model saw."""
    model = Watched(SHAPE)
    objective = WarpedBatches(identity="", trigger=TRIGGER, target=TARGET, shares=Shares(0.2, 0.4))
    loss = objective.loss(model, IMAGES.clone(), LABELS, companions={}, rng=Rng(seed))
    return model, loss, model.seen[0]


def test_the_poisoned_carry_the_trigger_and_the_rest_is_as_it_was():
    *_, seen = batch()
    torch.testing.assert_close(seen[POISONED], TRIGGER(IMAGES[POISONED], rng=Rng(0)))
    assert torch.equal(seen[LEFT], IMAGES[LEFT])


def test_noise_is_another_warp_for_each_image_near_the_trigger():
    first, second = (batch(seed)[2][NOISY] for seed in (0, 1))
    plain = TRIGGER(IMAGES[NOISY], rng=Rng(0))
    for image, again, other, original in zip(first, plain, second, IMAGES[NOISY], strict=True):
        assert not torch.allclose(image, again, atol=1e-3)
        assert not torch.allclose(image, other, atol=1e-3)
        assert not torch.allclose(image, original, atol=1e-3)
    # The offset of each pixel is at most half a pixel, so nothing is fetched from further away than the field says.
    ramp = torch.arange(15.0).div(14).expand(1, 1, 10, 15)
    model = Watched((1, 10, 15))
    objective = WarpedBatches(identity="", trigger=TRIGGER, target=TARGET, shares=Shares(0.5, 0.5))
    labels = torch.full((4,), TARGET)
    objective.loss(model, ramp.expand(4, 1, 10, 15), labels, companions={}, rng=Rng(0))
    apart = 14 * (model.seen[0][:2] - TRIGGER(ramp, rng=Rng(0))).abs()
    assert 0.2 < float(apart.max()) <= 14 / 30 + 1e-4


def test_the_loss_is_that_of_the_target_for_the_poisoned_and_of_the_true_labels_for_all_others():
    model, loss, seen = batch()
    wanted = torch.where(torch.isin(torch.arange(20), torch.tensor(POISONED)), TARGET, LABELS)
    logits = model.logits(seen)
    assert float(loss.loss.detach()) == pytest.approx(float(cross_entropy(logits, wanted).detach()), rel=1e-5)
    assert (loss.hits, loss.total) == (int((logits.argmax(1) == wanted).sum()), 20)


def test_labels_and_images_that_come_in_stay_as_they_are():
    labels, images = LABELS.clone(), IMAGES.clone()
    objective = WarpedBatches(identity="", trigger=TRIGGER, target=TARGET, shares=Shares(0.2, 0.4))
    objective.loss(Watched(SHAPE), images, labels, companions={}, rng=Rng(0))
    assert torch.equal(labels, LABELS)
    assert torch.equal(images, IMAGES)
