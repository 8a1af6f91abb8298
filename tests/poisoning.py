"""What the contract tests of attacks and of their parts share: images, a small model, and what is looked at."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.poison import RELABELLINGS

CLASSES, EACH = 5, 12
LABELS = torch.arange(CLASSES * EACH) % CLASSES
SETS = [(3, 20, 20), (1, 16, 24)]


def for_each(kinds, argument="kind"):
    return pytest.mark.parametrize(argument, list(kinds), ids=lambda kind: kind.name)


def for_each_shape(shapes):
    return pytest.mark.parametrize("shape", shapes, ids=lambda shape: "x".join(map(str, shape)))


def noise(shape, count=4):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


def image_set(shape):
    """Noise; the grey images are floats as a network draws them, the coloured ones of 8 bits as in a file."""
    pixels = noise(shape, len(LABELS))
    return ImageSet.from_array((pixels * 255).round().byte() if shape[0] == 3 else pixels, LABELS, name="noise")


def classifier(shape):
    """A small network with batch statistics and hidden neurons; its weights are as they were drawn."""
    with Rng(0).child("weights").as_global():
        module = nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128, 16),
            nn.ReLU(),
            nn.Linear(16, CLASSES),
        )
    return Classifier(module, input_shape=shape, num_classes=CLASSES)


@contextmanager
def unmoved(capsys, *, model, data=None):
    """Global stream, grad mode, stdout, the model and the images are afterwards what they were before."""

    def state():
        modules, parameters = list(model.module.modules()), list(model.module.parameters())
        everything = range(len(data)) if data else ()
        return [
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            model.digest(),
            [(module.training, len(module._forward_hooks)) for module in modules],
            [(parameter.requires_grad, parameter.grad) for parameter in parameters],
            (data.source.read(everything).tolist(), data.labels.tolist()) if data else None,
        ]

    before = state()
    yield
    assert state() == before
    assert capsys.readouterr().out == ""


def assert_a_trigger_is_sound(trigger, shape):
    """Values in [0, 1] in and out, the input untouched, the same images for the same stream, any size of batch."""
    for before in (noise(shape), torch.zeros(2, *shape), torch.ones(2, *shape), noise(shape, 1), noise(shape, 0)):
        given = before.clone()
        after = trigger(before, rng=Rng(5))
        assert torch.equal(before, given)
        assert (after.shape, after.dtype, after.requires_grad) == (before.shape, before.dtype, False)
        assert bool(((after >= 0) & (after <= 1)).all())
        assert torch.equal(trigger(before, rng=Rng(5)), after)
        after.add_(1)
        assert torch.equal(before, given)


def changed(data, poisoned):
    """Indices of the images that are not what they were, by pixels or by label."""
    apart = (poisoned.images() != data.images()).flatten(1).any(1) | (poisoned.labels != data.labels)
    return set(torch.nonzero(apart).flatten().tolist())


def assert_the_truth_is_true(data, poisoned):
    """What is not named in the truth came unchanged and in order out of the set; what is named is what it says.

    The images are noise, so none carries a trigger already. An attack may take images out, such as its victim.
    """
    truth, after = poisoned.truth, poisoned.data
    named = [index for backdoor in truth.backdoors for index in (*backdoor.poisoned, *backdoor.covers)]
    assert truth.backdoors
    assert len(set(named)) == len(named)
    assert set(named) <= set(range(len(after)))
    if len(after) == len(data):
        assert changed(data, after) == set(named)
        assert truth.clean_digest == data.digest()
    left = iter(zip(data.content_hashes, data.labels.tolist(), strict=True))
    others = zip(after.content_hashes, after.labels.tolist(), strict=True)
    assert all(image in left for index, image in enumerate(others) if index not in set(named))
    for backdoor in truth.backdoors:
        aim = RELABELLINGS.create(backdoor.relabelling)
        assert backdoor.poisoned
        assert backdoor.target == aim.target
        assert aim.target is None or set(after.labels[list(backdoor.poisoned)].tolist()) == {aim.target}
        if len(after) == len(data):
            assert set(backdoor.poisoned) <= set(aim.eligible(data.labels))
            assert torch.equal(after.labels[list(backdoor.covers)], data.labels[list(backdoor.covers)])
    assert truth.poisoned_digest == after.digest() != data.digest()
