"""The smallest changes, as pictures that still mislead: by hand, on a model that looks at one grey level."""

import pytest
import torch
from torch import nn

from mantrap.core import AWAY, Classifier, Goal
from mantrap.evade import AdversarialPatch, DeepFool, Fgsm
from mantrap.workflow.saved import saved_of

BORDER = 13.3


class Level(nn.Module):
    """Class 1 above a grey level, else class 0."""

    def forward(self, images):
        levels = images.flatten(1).sum(1) * 255
        return torch.stack([torch.zeros_like(levels), levels - BORDER], 1)


MODEL = Classifier(Level(), input_shape=(1, 1, 1), num_classes=2)


def saved(evasion, *levels, goal=AWAY):
    made = torch.tensor(levels).view(-1, 1, 1, 1) / 255
    originals, labels = torch.full_like(made, 10 / 255), torch.zeros(len(levels), dtype=torch.long)
    pictures, cost = saved_of(evasion, made, originals, model=MODEL, labels=labels, goal=goal)
    return [round(255 * float(one), 3) for one in pictures], cost


def test_a_change_that_rounding_undoes_is_made_longer_until_the_picture_misleads_and_no_more():
    pictures, cost = saved(DeepFool(), 13.4)  # 3.4 levels round to 3; 2 % more does, 5 % more does not

    assert pictures == [14.0]
    assert (cost.forward, cost.backward) == (4, 0)


def test_what_misleads_already_or_never_did_is_left_as_it_is():
    pictures, cost = saved(DeepFool(), 20.4, 12.4, 13.4)

    assert pictures == [20.0, 12.0, 14.0]
    assert cost.forward == 12


def test_nothing_is_asked_further_where_nothing_is_lost():
    pictures, cost = saved(DeepFool(), 14.4, 10.0, goal=Goal(torch.tensor([1, 1])))

    assert pictures == [14.0, 10.0]
    assert cost.forward == 4


@pytest.mark.parametrize("evasion", [Fgsm(eps=3.5 / 255), AdversarialPatch(size=(1, 1))])
def test_what_has_a_budget_or_paints_is_only_rounded(evasion):
    pictures, cost = saved(evasion, 13.4)

    assert pictures == [13.0]
    assert cost.forward == 0
