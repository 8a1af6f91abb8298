"""The label-consistent attack: within the target class, all labels as they were, and only with a model."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import ATTACKS
from mantrap.poison.attacks import LabelConsistent
from mantrap.poison.triggers.corners import Corners
from tests.planted import Planted

PLANTED = Planted(shape=(1, 8, 9), classes=4)
MODEL, IMAGES = PLANTED.model(), PLANTED.images(6, "train")
ATTACK = LabelConsistent(target=2, rate=0.5, preparation="adversarial(eps=0.25, step=0.1, steps=5)")


def test_half_of_the_target_class_is_perturbed_and_marked_and_no_label_changes():
    poisoned = ATTACK.apply(IMAGES, model=MODEL, rng=Rng(0))
    (backdoor,) = poisoned.truth.backdoors
    before, after = IMAGES.images(), poisoned.data.images()
    changed = (before != after).flatten(1).any(1)
    assert tuple(torch.nonzero(changed).flatten().tolist()) == backdoor.poisoned
    assert IMAGES.labels[changed].tolist() == [2, 2, 2]
    assert torch.equal(poisoned.data.labels, IMAGES.labels)
    assert (backdoor.trigger, backdoor.training_trigger, backdoor.target) == ("corners", "corners", 2)
    assert torch.equal(Corners()(after[changed], rng=Rng(0)), after[changed])
    with MODEL.frozen(), torch.no_grad():
        assert not bool((MODEL.logits(after[changed]).argmax(1) == 2).any())


def test_the_trigger_may_be_faint_in_training_and_strong_in_use():
    attack = LabelConsistent(trigger="corners(amplitude=0.125)", test_trigger="corners", preparation="")
    (backdoor,) = attack.apply(IMAGES, rng=Rng(0)).truth.backdoors
    assert (backdoor.training_trigger, backdoor.trigger) == ("corners(amplitude=0.125)", "corners")


def test_without_a_model_it_is_refused():
    with pytest.raises(UsageError, match="expected a model for adversarial"):
        ATTACK.apply(IMAGES, rng=Rng(0))


@pytest.mark.parametrize("option", ["rate=0", "rate=2", "target=-1", "trigger='smudge'", "preparation='prayer'"])
def test_settings_out_of_range_are_refused_at_once(option):
    with pytest.raises(SpecError):
        ATTACKS.create(f"label_consistent({option})")
