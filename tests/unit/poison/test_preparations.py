"""Adversarial preparation: images that the attacker's model no longer knows, close to what they were."""

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import PREPARATIONS, CleanLabel, Exactly, Patch, Poison
from mantrap.poison.preparations import Adversarial
from tests.planted import Planted

PLANTED = Planted(shape=(1, 8, 9), classes=4)
MODEL, IMAGES = PLANTED.model(), PLANTED.images(3, "train")
PIXELS, LABELS = IMAGES.images(), IMAGES.labels
STRONG = Adversarial(eps=0.25, step=0.05, steps=10)


def prepare(model=MODEL, pixels=PIXELS, *, seed=0):
    return STRONG.prepare(pixels, LABELS, model=model, rng=Rng(seed))


def test_the_model_no_longer_knows_the_images_which_are_within_the_bound():
    prepared = prepare()
    with MODEL.frozen(), torch.no_grad():
        assert torch.equal(MODEL.logits(PIXELS).argmax(1), LABELS)
        assert not bool((MODEL.logits(prepared).argmax(1) == LABELS).any())
    assert float((prepared - PIXELS).abs().max()) <= 0.25 + 1e-6
    assert 0.0 <= float(prepared.min()) <= float(prepared.max()) <= 1.0


def test_it_begins_at_random_and_the_stream_decides():
    assert torch.equal(prepare(), prepare())
    assert not torch.equal(prepare(), prepare(seed=1))


def test_in_a_poison_only_the_chosen_images_are_perturbed_and_then_stamped():
    """In 8 bits as well as in floating point, with the trigger on top of the perturbation."""
    clean = ImageSet.from_array((PIXELS * 255).round().byte(), LABELS, name="bytes")
    patch = Patch(size=2, margin=0)
    poison = Poison(trigger=patch, selection=Exactly(count=2), relabelling=CleanLabel(target=1), preparation=STRONG)
    poisoned = poison.apply(clean, model=MODEL, rng=Rng(4))
    chosen = list(poisoned.truth.backdoors[0].poisoned)
    others = [i for i in range(len(clean)) if i not in chosen]
    before, after = clean.images(), poisoned.data.images()
    changes = (after - before)[chosen]
    assert len(chosen) == 2
    assert torch.equal(poisoned.data.labels, LABELS)
    assert torch.equal(after[others], before[others])
    assert float(after[chosen, :, -2:, -2:].min()) == 1.0
    assert float(changes[..., :-2, :].abs().max()) == pytest.approx(64 / 255, abs=1 / 255)
    assert float((changes[..., :-2, :].abs() > 0).float().mean()) > 0.9


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "expected a model for adversarial, which perturbs images by its gradients, got none"),
        (Planted(shape=(3, 8, 9), classes=4).model(), r"got one for shape \(3, 8, 9\) and 4 classes"),
        (Planted(shape=(1, 8, 9), classes=3).model(), r"4 classes, for adversarial, got one .* and 3 classes"),
    ],
    ids=["none", "other images", "too few classes"],
)
def test_a_model_that_is_missing_or_does_not_fit_is_refused(model, message):
    with pytest.raises(UsageError, match=message):
        prepare(model)


@pytest.mark.parametrize("option", ["eps=0", "eps=1.5", "step=0", "steps=0", "norm='l1'"])
def test_settings_out_of_range_are_refused(option):
    with pytest.raises(SpecError):
        PREPARATIONS.create(f"adversarial({option})")


def test_an_l2_bound_may_be_more_than_1():
    assert PREPARATIONS.create("adversarial(norm='l2', eps=4.7)") == Adversarial(norm="l2", eps=4.7)
