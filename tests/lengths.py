"""Models whose nearest adversarial examples are known, and a small trained one, for evasions of the smallest norm."""

from functools import cache

import torch
from torch import nn

from mantrap.core import Classifier, Problem, Rng
from mantrap.evade import perturb
from mantrap.ops.projections import norms
from mantrap.training import Recipe, fit
from tests.planted import SCALE, Planted

PLANTED = Planted(shape=(2, 6, 5), classes=4)
MODEL, SET = PLANTED.model(), PLANTED.images(3, "evade")
MODEL.module.eval()
PIXELS, LABELS = SET.images(), SET.labels
NEXT = (LABELS + 1) % 4
SLOPES = PLANTED.templates * SCALE / (PLANTED.templates[0].numel() * PLANTED.amplitude)
"""The gradient of each logit to the pixels: the planted model without a plant is linear."""


def logits(model, images):
    with model.frozen(), torch.no_grad():
        return model.logits(images)


def problem(model=MODEL, images=PIXELS, labels=LABELS, **keywords):
    return Problem(model, images, labels, **keywords)


def made(evasion, model=MODEL, images=PIXELS, labels=LABELS, **keywords):
    return perturb(evasion, model, images, labels, **({"rng": Rng(0)} | keywords)).images


def distances(norm):
    """How far each planted image is from each other class; of its own, infinity, [n, k]. No pixel meets its bounds."""
    said = logits(MODEL, PIXELS)
    apart = (SLOPES[LABELS][:, None] - SLOPES[None]).flatten(2)
    gaps = said.gather(1, LABELS[:, None]) - said
    return (gaps / apart.norm(p=2 if norm == "l2" else 1, dim=2)).masked_fill(gaps == 0, torch.inf)


def in_a_corner(count=8, values=40):
    """A linear model of two classes, images many of whose pixels are black or white, and how far they are, [count].

    The nearest point of a plane in the box goes by the plane's slope times one number, and stops at the bounds.
    """
    generator = Rng(4).child("corner").torch()
    slope = torch.randn(values, generator=generator)
    images = torch.rand(count, values, generator=generator)
    images = torch.where(torch.rand(count, values, generator=generator) < 0.6, images.round(), images)
    linear = nn.Linear(values, 2)
    bias = 0.5 - float((images @ slope).amax())  # all of them on one side
    with torch.no_grad():
        linear.weight.copy_(torch.stack([-slope, slope]) / 2)
        linear.bias.copy_(torch.tensor([-bias, bias]) / 2)
    model = Classifier(nn.Sequential(nn.Flatten(), linear), input_shape=(1, 5, values // 5), num_classes=2)
    labels = (images @ slope + bias > 0).long()
    side = torch.where(labels == 1, -1.0, 1.0)[:, None] * slope
    gaps = (images @ slope + bias).abs()
    low, high = torch.zeros(count, 1), torch.full((count, 1), 1e3)
    for _ in range(60):
        middle = (low + high) / 2
        short = (((images + middle * side).clamp(0, 1) - images) * side).sum(1) < gaps
        low, high = torch.where(short[:, None], middle, low), torch.where(short[:, None], high, middle)
    steps = (images + high * side).clamp(0, 1) - images
    return model, images.view(count, 1, 5, -1), labels, steps.norm(dim=1), gaps / slope.norm()


@cache
def trained():
    """A small network trained on planted images with much noise, and images that it knows with their labels."""
    planted = Planted(shape=(1, 10, 10), classes=5, amplitude=0.08, seed=5)
    with Rng(5).child("weights").as_global():
        module = nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 32),
            nn.ReLU(),
            nn.Linear(32, 5),
        )
    fresh = Classifier(module, input_shape=planted.shape, num_classes=5)
    recipe = Recipe(epochs=15, batch_size=50, optimizer="adam(lr=0.003)")
    model = fit(fresh, planted.images(100, "train"), recipe=recipe, rng=Rng(5)).model
    images = planted.images(12, "test")
    right = logits(model, images.images()).argmax(1) == images.labels
    assert int(right.sum()) >= 40
    return model, images.images()[right], images.labels[right]


def median_length(model, images, labels, found, norm="l2"):
    """Of the perturbations, all of which must mislead."""
    assert not bool((logits(model, found) == logits(model, images)).all())
    assert not bool((logits(model, found).argmax(1) == labels).any())
    return float(norms(found - images, norm).median())
