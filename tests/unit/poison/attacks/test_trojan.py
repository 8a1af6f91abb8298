"""The Trojan attack on a small trained network, from neuron to retrained layers."""

from functools import lru_cache

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.errors import DataError, SpecError, UsageError
from mantrap.measure import attack_success, measure_attack
from mantrap.poison import ATTACKS
from mantrap.training import Recipe, evaluate, fit
from tests import stage

RECIPE = "recipe(epochs=14, batch_size=24, optimizer='adam(lr=0.005)', schedule='cosine')"
SPEC = "trojan(target=4, images=60, steps=40)"
TEST = stage.image_set(120)


@lru_cache
def trained():
    """A network of three layers with batch statistics that knows the tiles."""
    with Rng(0).child("weights").as_global():
        module = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6 * 64, 24),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(24, stage.CLASSES),
        )
    fresh = Classifier(module, input_shape=(1, stage.SIDE, stage.SIDE), num_classes=stage.CLASSES)
    return fit(fresh, stage.image_set(240), recipe=Recipe(epochs=8, batch_size=24), rng=Rng(0)).model


def attack(spec=SPEC, *, model=None, data=TEST, recipe=RECIPE, seed=0, **keywords):
    return ATTACKS.create(spec).implant(model or trained(), data, recipe=recipe, rng=Rng(seed), **keywords)


@lru_cache
def attacked(spec=SPEC):
    return attack(spec)


def apart(first, second):
    """The names of the weights and buffers that are not the same."""
    others = second.module.state_dict()
    return {name for name, tensor in first.module.state_dict().items() if not torch.equal(tensor, others[name])}


@pytest.mark.parametrize("spec", [SPEC, "trojan(target=4, images=60, steps=40, mask='watermark')"])
def test_the_trigger_works_on_the_trojaned_model_and_on_no_other_and_clean_images_keep_their_class(spec):
    implanted = attacked(spec)
    (measure,) = measure_attack(
        implanted.model, TEST, implanted.truth, tensors=implanted.tensors, clean_model=trained()
    )

    assert measure.success.value >= 0.95
    assert measure.clean_model_success.value <= 0.1
    assert evaluate(implanted.model, TEST).value >= evaluate(trained(), TEST).value - 0.03


def test_the_trigger_alone_would_not_do_without_retraining_towards_it():
    """The same trigger, retrained towards another class, is worth nothing for this one."""
    other = attack(SPEC.replace("target=4", "target=1"))
    truth = attacked().truth

    assert attack_success(other.model, TEST, truth, tensors=attacked().tensors).value <= 0.1


def test_only_the_layers_from_the_chosen_one_on_change_and_batch_normalisation_rests():
    middle, last = attacked(), attack(SPEC.replace("steps=40", "steps=5, layer='8'"))

    assert apart(middle.model, trained()) == {"5.weight", "5.bias", "8.weight", "8.bias"}
    assert apart(last.model, trained()) == {"8.weight", "8.bias"}


def test_not_a_pixel_of_the_data_is_looked_at_where_images_are_rebuilt():
    garbage = ImageSet.from_array(torch.rand(30, 3, 7, 9), torch.zeros(30, dtype=torch.int64))
    first, second = attacked(), attack(data=garbage)

    assert first.model.digest() == second.model.digest()
    assert first.truth == second.truth
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())


def test_the_attackers_own_images_are_taken_where_they_are_not():
    spec = "trojan(target=4, rebuild=False, images=60, steps=20)"
    first, second = attack(spec), attack(spec, data=TEST.subset(range(60)))

    assert attack_success(first.model, TEST, first.truth, tensors=first.tensors).value >= 0.95
    assert evaluate(first.model, TEST).value >= evaluate(trained(), TEST).value - 0.03
    assert first.truth.clean_digest != second.truth.clean_digest
    with pytest.raises(DataError, match=r"images of shape \(1, 16, 16\)"):
        attack(spec, data=ImageSet.from_array(torch.rand(4, 1, 8, 8), [0, 1, 2, 3]))


def test_the_trigger_is_in_the_lower_right_and_the_truth_says_how_transparent():
    implanted = attacked("trojan(target=4, images=60, steps=40, transparency=0.3)")
    (backdoor,) = implanted.truth.backdoors

    assert (backdoor.trigger, backdoor.target) == ("overlay(transparency=0.3)", 4)
    assert set(implanted.tensors) == {"0.mask", "0.pattern"}
    mask, pattern = implanted.tensors["0.mask"], implanted.tensors["0.pattern"]
    assert float(mask.mean()) == pytest.approx(0.07, abs=0.01)
    assert float(pattern.abs().sum()) == float((pattern.abs() * mask).sum()) > 0
    assert attack_success(implanted.model, TEST, implanted.truth, tensors=implanted.tensors).value >= 0.9


def test_neurons_can_be_chosen_by_their_link_to_the_target_and_be_several():
    by_layer, by_target, several = (
        attack(f"trojan(target=4, images=24, rebuild_steps=10, steps=20{more})", recipe="recipe(epochs=1)")
        for more in ("", ", link='target'", ", neurons=5")
    )
    patterns = {implanted.tensors["0.pattern"].numpy().tobytes() for implanted in (by_layer, by_target, several)}
    assert len(patterns) == 3


def test_hard_labels_train_on_cross_entropy():
    soft, hard = (
        attack(f"trojan(images=24, rebuild_steps=10, steps=5, labels='{labels}')", recipe="recipe(epochs=2)")
        for labels in ("soft", "hard")
    )
    assert soft.truth.poisoned_digest == hard.truth.poisoned_digest
    assert soft.model.digest() != hard.model.digest()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("trojan(layer='0')", "an inner layer of Sequential out of 5, 8, got '0'"),
        ("trojan(layer='fc')", "got 'fc'"),
        ("trojan(target=6)", "a target from 0 to 5, got 6"),
        ("trojan(share=0.001)", "a share that makes at least one of 16x16 pixels"),
        ("trojan(neurons=25, layer='8')", "at most 24 neurons, for 8 reads so many"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        attack(spec.replace(")", ", images=6, rebuild_steps=1)"))


def test_a_model_without_hidden_neurons_is_refused():
    linear = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(256, 6)), input_shape=(1, 16, 16), num_classes=6)
    with pytest.raises(UsageError, match="got the only layers 1"):
        attack(model=linear)


@pytest.mark.parametrize(
    "spec",
    [
        "trojan(share=0.0)",
        "trojan(share=1.0)",
        "trojan(transparency=1.0)",
        "trojan(neurons=0)",
        "trojan(steps=0)",
        "trojan(images=0)",
        "trojan(rebuild_steps=0)",
        "trojan(mask='apple')",
        "trojan(confidence=1.0)",
    ],
)
def test_settings_out_of_range_are_refused_by_name(spec):
    with pytest.raises(SpecError, match=spec.partition("(")[2].partition("=")[0]):
        ATTACKS.create(spec)
