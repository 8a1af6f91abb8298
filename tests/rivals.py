"""Adversarial examples as other libraries make them, and a small trained network to compare them on."""

import warnings
from contextlib import contextmanager
from functools import cache

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, Rng
from mantrap.training import Recipe, fit
from tests.planted import Planted

SIGHTS = Planted(shape=(1, 10, 10), classes=6, amplitude=0.1)


@contextmanager
def quiet():
    """The others warn at every turn, and draw from the global stream."""
    with warnings.catch_warnings(), Rng(0).child("rivals").as_global():
        warnings.simplefilter("ignore")
        yield


def rival(name):
    """A library, or the test is skipped where it is not installed."""
    with quiet():
        return pytest.importorskip(name)


class Plain(nn.Module):
    """A classifier as the others take it: a module of pixels."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.model = model.module, [model]

    def forward(self, images):
        return self.model[0].logits(images)


@cache
def trained():
    """A small convolutional network that knows faint patterns."""
    with Rng(0).child("weights").as_global():
        module = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(400, 32),
            nn.ReLU(),
            nn.Linear(32, SIGHTS.classes),
        )
    model = Classifier(module, input_shape=SIGHTS.shape, num_classes=SIGHTS.classes, mean=(0.5,), std=(0.1,))
    return fit(model, SIGHTS.images(60, "training"), rng=Rng(0), recipe=Recipe(epochs=6)).model


@cache
def sights(each=40):
    """Images that it has not seen, and their classes."""
    given = SIGHTS.images(each, "test")
    return given.images(), given.labels


def misled(model, images, labels):
    """Share of the images that the model takes for another class, in per cent."""
    with model.frozen(), torch.no_grad():
        return 100 * float((model.logits(images).argmax(1) != labels).float().mean())


def of_torchattacks(attack, **options):
    """Images of theirs, within the budget among the options."""
    library = rival("torchattacks")
    with quiet(), trained().frozen():
        return getattr(library, attack)(Plain(trained()).eval(), **options)(*sights()).detach()


def of_foolbox(attack, eps=None, *, model=None, given=None, **options):
    """Images of theirs: of the trained network and its sights where no other model and images are given."""
    library = rival("foolbox")
    model, (images, labels) = model or trained(), given or sights()
    with quiet(), model.frozen():
        wrapped = library.PyTorchModel(Plain(model).eval(), bounds=(0, 1), device="cpu")
        return getattr(library.attacks, attack)(**options)(wrapped, images, labels, epsilons=eps)[1].detach()


def of_art(attack, **options):
    """Images of theirs."""
    evasion = rival("art.attacks.evasion")
    estimators = rival("art.estimators.classification")
    with quiet(), trained().frozen():
        model = estimators.PyTorchClassifier(
            Plain(trained()).eval(),
            nn.CrossEntropyLoss(),
            SIGHTS.shape,
            SIGHTS.classes,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        images, labels = (tensor.numpy() for tensor in sights())
        return torch.tensor(getattr(evasion, attack)(model, **options).generate(images, labels))
