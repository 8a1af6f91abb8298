"""A small network with backdoors that it was taught, and ways to see what a repair does with it."""

import dataclasses
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mantrap.core import Classifier, ImageSet, ReversedPatch, Rng
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import accuracy, trigger_success
from mantrap.training import Recipe, fit
from tests import scans
from tests.planted import Planted, TemplateNetwork


class HiddenNetwork(TemplateNetwork):
    """The templates behind two convolutions and a ReLU that change no value: something for every repair to work on."""

    def __init__(self, templates, plant):
        super().__init__(templates, plant)
        both = torch.cat([torch.eye(plant.shape[0]), -torch.eye(plant.shape[0])])
        self.apart = nn.utils.skip_init(nn.Conv2d, plant.shape[0], len(both), 1, bias=False)
        self.together = nn.utils.skip_init(nn.Conv2d, len(both), plant.shape[0], 1, bias=False)
        with torch.no_grad():
            self.apart.weight.copy_(both[:, :, None, None])
            self.together.weight.copy_(both.T[:, :, None, None])

    def forward(self, normalised):
        return super().forward(self.together(self.apart(normalised).relu()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hidden(Planted):
    """A planted model with hidden layers."""

    def network(self):
        return HiddenNetwork(self.templates, self)

    __str__ = Planted.__str__


def hidden(planted):
    """The same planted model, with hidden layers."""
    return Hidden(**{field.name: getattr(planted, field.name) for field in dataclasses.fields(planted)})


MAY_FIND_NOTHING = {"anp", "pruning"}
"""Repairs that only prune, and leave a model as it is where they find nothing to prune."""

SMALL, EVERY_SIZE = hidden(scans.SMALL), tuple(map(hidden, scans.EVERY_SIZE))

PLANTED = Planted(shape=(1, 8, 8), classes=4)
"""Of whom the images are: four classes of random signs."""


def corner(target, *, upper=False, strength=1.0):
    """A white square in a corner of the images, as somebody may have recovered it."""
    place = slice(0, 3) if upper else slice(5, 8)
    mask = torch.zeros(8, 8)
    mask[place, place] = strength
    return ReversedPatch(target, mask, torch.ones(1, 8, 8))


LOWER, UPPER = corner(2), corner(1, upper=True)
"""The triggers of the network's two backdoors."""


def poisoned(images, triggers, every):
    """The images; in every run of so many the first carries the first trigger, with its label, and so on."""
    pixels, labels = images.images(), images.labels.clone()
    for number, trigger in enumerate(triggers):
        those = torch.arange(len(labels)) % every == number
        pixels[those] = put_on(pixels[those], trigger)
        labels[those] = trigger.target
    return ImageSet.from_array(pixels, labels, name="poisoned")


def dense(shape, classes, *, convolved=False):
    """A classifier that cannot learn from a batch of one: its batch normalisation needs two."""
    with Rng(0).child("weights").as_global():
        before = [nn.Conv2d(shape[0], shape[0], 1)] if convolved else []
        layers = *before, nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 24), nn.BatchNorm1d(24), nn.ReLU()
        module = nn.Sequential(*layers, nn.Linear(24, classes))
    return Classifier(module, input_shape=shape, num_classes=classes, mean=(0.5,), std=(0.25,))


@lru_cache
def backdoored():
    """A classifier that is right on every image, and that both triggers send to their labels; nobody may change it."""
    images = poisoned(PLANTED.images(64, "training"), (LOWER, UPPER), every=7)
    recipe = Recipe(epochs=15, batch_size=32, optimizer="adam(lr=0.01)")
    return fit(dense(PLANTED.shape, PLANTED.classes), images, recipe=recipe, rng=Rng(0)).model


def success(model, trigger):
    """Share of unseen images of other classes that a trigger sends to its label."""
    return trigger_success(model, _unseen(), lambda batch: put_on(batch, trigger), trigger.target).value


def right(model):
    """Share of unseen images that get their own label."""
    return accuracy(model, _unseen()).value


def _unseen():
    return PLANTED.images(50, "unseen")


def state(model):
    """Weights and buffers by name."""
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def equal(first, second):
    """Whether two models have bitwise the same weights and buffers."""
    one, other = state(first), state(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Passes:
    """What goes through a model and through every copy of it, in order, and whether it was to learn from it."""

    def __init__(self, model):
        self.batches, self.learned, self.last = [], [], None
        model.module.register_forward_pre_hook(self._note)

    def __deepcopy__(self, _):
        return self

    def _note(self, module, inputs):
        self.last = inputs[0].detach().clone()
        (self.learned if module.training else self.batches).append(self.last)

    @property
    def backward(self):
        """Images that were learned from, each as often as it was."""
        return sum(map(len, self.learned))

    @property
    def forward(self):
        """Images that were looked at."""
        return self.backward + sum(map(len, self.batches))


@contextmanager
def updates(model):
    """Inside, the sizes of the batches after which an optimiser made a step on the model or on a copy of it."""
    passes, sizes = Passes(model), []
    handle = register_optimizer_step_pre_hook(lambda *_: sizes.append(len(passes.last)))
    try:
        yield sizes
    finally:
        handle.remove()


def framed(images):
    """The images, grey in their lower part, where a trigger has its place for itself."""
    frame = torch.ones(images.shape[1:])
    frame[-3:] = 0
    return ImageSet.from_array(0.5 + (images.images() - 0.5) * frame, images.labels, name=images.name)


RECIPE = "recipe(epochs=6, batch_size=32, optimizer='adam(lr=0.01)')"
"""By which the network learns the images, and what is planted in them."""
EVERY = 7


@lru_cache
def suspects():
    """A training set of which every seventh image carries a trigger, and its label."""
    return poisoned(framed(PLANTED.images(64, "training")), (LOWER,), every=EVERY)
