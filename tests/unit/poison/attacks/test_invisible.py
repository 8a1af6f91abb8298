"""The invisible attack: a perturbation within its bound on a few images, whose labels change."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.measure import measure_attack
from mantrap.poison import ATTACKS
from mantrap.poison.attacks import Invisible
from tests.planted import Planted

PLANTED = Planted(shape=(1, 12, 10))
MODEL, IMAGES, TEST = PLANTED.model(), PLANTED.images(10, "train"), PLANTED.images(6, "test")
ADAPTIVE = "adaptive_perturbation(eps=0.3, step=0.1, steps=20)"


@pytest.mark.parametrize(("trigger", "bound"), [("static_perturbation", 10 / 255), (ADAPTIVE, 0.3)])
def test_a_tenth_of_the_images_is_perturbed_within_the_bound_and_relabelled(trigger, bound):
    poisoned = Invisible(target=1, rate=0.1, trigger=trigger).apply(IMAGES, model=MODEL, rng=Rng(0))
    (backdoor,) = poisoned.truth.backdoors
    changes = (poisoned.data.images() - IMAGES.images()).flatten(1).abs().amax(1)
    assert tuple(torch.nonzero(changes).flatten().tolist()) == backdoor.poisoned
    assert len(backdoor.poisoned) == 5
    assert 0.9 * bound <= float(changes.max()) <= bound + 1e-6
    assert poisoned.data.labels[list(backdoor.poisoned)].tolist() == [1] * 5
    assert backdoor.trigger == backdoor.training_trigger == trigger


def test_what_was_learned_goes_with_the_truth_and_is_measured_by_it():
    """The surrogate is the linear model that the perturbation was made for: it obeys without being poisoned."""
    poisoned = Invisible(target=1, rate=0.1, trigger=ADAPTIVE).apply(IMAGES, model=MODEL, rng=Rng(0))
    assert set(poisoned.tensors) == {"0.delta"}
    (found,) = measure_attack(MODEL, TEST, poisoned.truth, tensors=poisoned.tensors)
    assert found.success.value > 0.95
    assert found.stealth.largest_change == pytest.approx(0.3, abs=1e-5)


def test_the_adaptive_one_needs_a_model_and_the_static_one_does_not():
    assert Invisible(rate=0.1).apply(IMAGES, rng=Rng(0)).tensors == {}
    with pytest.raises(UsageError, match="expected a model for adaptive_perturbation"):
        Invisible(rate=0.1, trigger=ADAPTIVE).apply(IMAGES, rng=Rng(0))


@pytest.mark.parametrize("option", ["trigger='patch'", "trigger='static_perturbation(eps=3)'", "rate=0", "target=-2"])
def test_settings_out_of_range_are_refused_at_once(option):
    with pytest.raises(SpecError):
        ATTACKS.create(f"invisible({option})")
