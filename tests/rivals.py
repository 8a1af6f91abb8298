"""Attacks of other libraries on our models, where these libraries are installed."""

import warnings

import pytest
import torch
from torch import nn


class Bare(nn.Module):
    """A classifier as other libraries take it: images in [0, 1] in, logits out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model.logits(images)


def library(name):
    """A library that may warn while it is imported; the test is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def by_foolbox(attack, model, images, labels):
    """What an attack of foolbox makes of images; ``attack`` is its name and its options."""
    foolbox = library("foolbox")
    name, options = attack
    with model.frozen(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = foolbox.PyTorchModel(Bare(model).eval(), bounds=(0, 1), device="cpu")
        made = getattr(foolbox.attacks, name)(**options).run(theirs, images, foolbox.criteria.Misclassification(labels))
    return torch.as_tensor(made)
