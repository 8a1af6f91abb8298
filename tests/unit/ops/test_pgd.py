"""Projected gradient ascent on classifiers whose best perturbation is known in closed form."""

import math

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, Rng
from mantrap.errors import FailedError, SpecError, UsageError
from mantrap.ops.features import features_of
from mantrap.ops.pgd import Ascent, away, pgd, slope, towards
from mantrap.ops.projections import norms
from tests.planted import SCALE, Planted

PLANTED = Planted(shape=(2, 6, 5), classes=4)
MODEL, IMAGES = PLANTED.model(), PLANTED.images(3, "search")
PIXELS, LABELS = IMAGES.images(), IMAGES.labels
NEXT = (LABELS + 1) % 4
SLOPES = PLANTED.templates * SCALE / (PLANTED.templates[0].numel() * PLANTED.amplitude)
"""The gradient of each logit to the pixels: the planted model without a plant is linear."""
BALLS = [("linf", 0.1), ("l2", 0.6)]

every_ball = pytest.mark.parametrize(("norm", "eps"), BALLS)


def margin(model, images, labels):
    """How far the logit of these labels lies above that of the images' own class."""
    logits = model.logits(images)
    return (logits.gather(1, labels[:, None]) - logits.gather(1, LABELS[: len(images), None]))[:, 0]


def answers(images):
    with MODEL.frozen(), torch.no_grad():
        return MODEL.logits(images)


@every_ball
@pytest.mark.parametrize("rng", [None, Rng(1)], ids=["from the image", "from a random start"])
def test_on_a_linear_model_the_best_perturbation_is_found(norm, eps, rng):
    ascent = Ascent(norm=norm, eps=eps, step=eps / 2, steps=40)
    moved = pgd(MODEL, PIXELS, NEXT, climb=margin, ascent=ascent, rng=rng)
    slopes = SLOPES[NEXT] - SLOPES[LABELS]
    if norm == "linf":
        best, gain = eps * slopes.sign(), eps * slopes.abs().flatten(1).sum(1)
        moved = torch.where(slopes == 0, PIXELS, moved)  # where the slope is 0 all perturbations are as good
    else:
        best, gain = eps * slopes / norms(slopes, "l2").view(-1, 1, 1, 1), eps * norms(slopes, "l2")
    assert bool((PIXELS + best == (PIXELS + best).clamp(0, 1)).all())
    torch.testing.assert_close(moved, PIXELS + best, atol=1e-5, rtol=0)
    with MODEL.frozen(), torch.no_grad():
        risen = margin(MODEL, moved, NEXT) - margin(MODEL, PIXELS, NEXT)
    torch.testing.assert_close(risen, gain, atol=1e-3, rtol=1e-4)


def test_where_the_ball_leaves_the_box_the_best_image_is_the_clipped_one():
    pixels = PIXELS.round()  # all values at an end of the range
    moved = pgd(MODEL, pixels, NEXT, climb=margin, ascent=Ascent(eps=0.25, step=0.1, steps=5))
    slopes = SLOPES[NEXT] - SLOPES[LABELS]
    torch.testing.assert_close(moved, (pixels + 0.25 * slopes.sign()).clamp(0, 1))


@every_ball
def test_the_result_lies_in_the_ball_and_the_box_after_every_number_of_steps(norm, eps):
    for steps in range(1, 5):
        ascent = Ascent(norm=norm, eps=eps, step=3 * eps, steps=steps)
        moved = pgd(MODEL, PIXELS.round(), LABELS, climb=away, ascent=ascent, rng=Rng(2))
        assert 0.0 <= float(moved.min()) <= float(moved.max()) <= 1.0
        assert float(norms(moved - PIXELS.round(), norm).max()) <= eps * (1 + 1e-5)


def test_away_leaves_the_class_and_towards_reaches_the_wanted_one():
    ascent = Ascent(eps=0.25, step=0.05, steps=10)
    left = pgd(MODEL, PIXELS, LABELS, climb=away, ascent=ascent)
    reached = pgd(MODEL, PIXELS, NEXT, climb=towards, ascent=ascent)
    assert torch.equal(answers(PIXELS).argmax(1), LABELS)
    assert not bool((answers(left).argmax(1) == LABELS).any())
    assert torch.equal(answers(reached).argmax(1), NEXT)


def test_features_can_be_climbed_as_well_as_logits():
    victim = PIXELS[1:2]
    with MODEL.frozen(), torch.no_grad():
        goal = features_of(MODEL, victim)

    def near(model, images, labels):
        return -(features_of(model, images) - goal).square().sum(1)

    moved = pgd(MODEL, PIXELS[:1], LABELS[:1], climb=near, ascent=Ascent(eps=0.6, step=0.02, steps=60))
    assert float((moved - victim).abs().max()) < 0.03


def test_an_images_perturbation_does_not_hang_on_the_others():
    ascent = Ascent(norm="l2", eps=0.6, step=0.2, steps=4)
    together = pgd(MODEL, PIXELS, LABELS, climb=away, ascent=ascent)
    alone = torch.cat([pgd(MODEL, PIXELS[i : i + 1], LABELS[i : i + 1], climb=away, ascent=ascent) for i in range(12)])
    torch.testing.assert_close(together, alone)


def test_a_random_start_is_the_streams_own():
    ascent = Ascent(eps=0.2, step=1e-3, steps=1)
    first, again, other = (pgd(MODEL, PIXELS, LABELS, climb=away, ascent=ascent, rng=Rng(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert float((first - other).abs().max()) > 0.1


def test_the_model_the_images_and_the_modes_of_torch_are_as_before():
    before, digest = PIXELS.clone(), MODEL.digest()
    with torch.no_grad():
        moved = pgd(MODEL, PIXELS, LABELS, climb=away, ascent=Ascent(eps=0.1, step=0.1, steps=2), rng=Rng(0))
        assert not torch.is_grad_enabled()
    assert not moved.requires_grad
    assert torch.equal(PIXELS, before)
    assert MODEL.digest() == digest
    assert MODEL.module.training
    assert all(p.requires_grad and p.grad is None for p in MODEL.module.parameters())


def test_no_images_give_none():
    moved = pgd(MODEL, PIXELS[:0], LABELS[:0], climb=away, ascent=Ascent(eps=0.1, step=0.1, steps=2), rng=Rng(0))
    assert moved.shape == (0, 2, 6, 5)


def test_a_gradient_that_is_no_number_stops_the_search():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(network[1].weight, math.nan)
    broken = Classifier(network, input_shape=(1, 2, 2), num_classes=2)
    with pytest.raises(FailedError, match="expected a finite gradient to the images"):
        slope(broken, torch.zeros(1, 1, 2, 2), torch.tensor([0]), away)


@pytest.mark.parametrize("bad", [{"eps": 0.0}, {"eps": 1.5}, {"step": 0.0}, {"steps": 0}], ids=str)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        Ascent(**({"eps": 0.1, "step": 0.1, "steps": 1} | bad))


def test_a_ball_larger_than_the_box_is_refused():
    farthest = math.sqrt(math.prod(MODEL.input_shape))
    with pytest.raises(UsageError, match=f"an eps of at most {farthest:.4g}"):
        pgd(MODEL, PIXELS, LABELS, climb=away, ascent=Ascent(norm="l2", eps=farthest + 1, step=0.1, steps=1))
