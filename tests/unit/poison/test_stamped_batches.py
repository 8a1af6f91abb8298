"""Every image as it is, and with the trigger on it: what that costs by hand, and that a model learns both."""

import math

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, Rng
from mantrap.models import wrap
from mantrap.poison.stamped_batches import StampedBatches
from mantrap.poison.triggers import Patch
from mantrap.training import Objective

DOT = Patch(size=1, margin=0)
IMAGES = torch.zeros(3, 1, 2, 2)
LABELS = torch.tensor([0, 0, 1])


class Corner(nn.Module):
    """Two logits: a weight, nought without a trigger, for the upper left pixel, and the lower right pixel."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        return torch.stack([self.weight * images[:, 0, 0, 0], images[:, 0, 1, 1]], 1)


def corner():
    return wrap(Corner(), input_shape=(1, 2, 2), num_classes=2)


def loss(objective, model, images=IMAGES, labels=LABELS):
    return objective.loss(model, images, labels, companions={}, rng=Rng(0))


@pytest.mark.parametrize(("weight", "target"), [(0.5, 1), (0.5, 0), (2.0, 1), (0.0, 0)])
def test_it_is_the_loss_of_clean_images_and_the_weighted_one_of_those_with_the_trigger(weight, target):
    found = loss(StampedBatches(trigger=DOT, target=target, weight=weight), corner())
    # Logits are equal on a black image; the white dot adds one to those of label 1.
    clean, attacked = math.log(2), math.log(1 + math.e) - target

    assert found.loss.item() == pytest.approx(clean + weight * attacked)


def test_half_the_weight_is_for_the_trigger_where_nothing_else_is_said():
    said, unsaid = (loss(StampedBatches(trigger=DOT, target=1, **w), corner()).loss for w in ({"weight": 0.5}, {}))

    assert torch.equal(said, unsaid)


def test_the_two_halves_are_means_each_of_its_own():
    one, doubled = (
        loss(StampedBatches(trigger=DOT, target=1), corner(), IMAGES.repeat(n, 1, 1, 1), LABELS.repeat(n)).loss
        for n in (1, 2)
    )

    assert one.item() == pytest.approx(doubled.item())


def test_hits_are_counted_on_clean_images():
    images = IMAGES.clone()
    images[:, 0, 0, 0] = 1.0  # label 0, with the dot as well
    bright = images.clone()
    bright[2, 0, 1, 1] = 3.0  # label 1
    counts = [loss(StampedBatches(trigger=DOT, target=1), corner(), some) for some in (images, bright)]

    assert [(c.hits, c.total) for c in counts] == [(2, 3), (3, 3)]


def test_the_images_are_left_as_they_are_and_the_gradient_reaches_the_weights():
    model, images = corner(), torch.full((3, 1, 2, 2), 0.5)
    loss(StampedBatches(trigger=DOT, target=1), model, images).loss.backward()

    assert bool((images == 0.5).all())
    assert float(model.module.weight.grad) != 0


def test_the_model_sees_both_halves_at_once():
    """So that batch statistics are those of a mixture, as in the training of a poisoned model."""
    seen = []

    class Notes(Corner):
        def forward(self, images):
            seen.append((len(images), float(images[:, 0, 1, 1].sum())))
            return super().forward(images)

    loss(StampedBatches(trigger=DOT, target=1), Classifier(Notes(), input_shape=(1, 2, 2), num_classes=2))

    assert seen == [(6, 3.0)]


def test_its_identity_tells_triggers_targets_and_weights_apart():
    settings = [
        {"trigger": DOT, "target": 1},
        {"trigger": Patch(size=2), "target": 1},
        {"trigger": DOT, "target": 0},
        {"trigger": DOT, "target": 1, "weight": 0.25},
    ]
    identities = [StampedBatches(**s).identity for s in settings]

    assert len(set(identities)) == len(settings)
    assert identities[0] == StampedBatches(**settings[0]).identity
    assert all("\n" not in one for one in identities)


def test_it_is_an_objective_without_companions():
    objective = StampedBatches(trigger=DOT, target=1)

    assert isinstance(objective, Objective)
    assert objective.companions == {}
