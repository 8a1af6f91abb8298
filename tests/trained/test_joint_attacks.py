"""Attacks that train the model, on drawn signs: they work where a clean model stays indifferent, and cost little."""

import functools

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.data import load
from mantrap.measure import measure_attack, trigger_of
from mantrap.models import Preprocessing
from mantrap.poison import ATTACKS
from mantrap.poison.triggers.input_aware import sharpened, show
from mantrap.training import Recipe, evaluate, fit
from mantrap.workflow.train import new_classifier
from tests import stage

SIGNS = "signs(classes=5, size=20)"


@functools.cache
def signs(split: str, count: int) -> ImageSet:
    return load(SIGNS, split=split, limit=count)


def start():
    return new_classifier("mnist_cnn", signs("train", 1600), declared=Preprocessing(), rng=Rng(0))


@functools.cache
def clean_model():
    return fit(start(), signs("train", 1600), recipe=Recipe(epochs=8, batch_size=32), rng=Rng(0)).model


def implanted(attack, epochs):
    recipe = f"recipe(epochs={epochs}, batch_size=32)"
    return ATTACKS.create(attack).implant(start(), signs("train", 1600), recipe=recipe, rng=Rng(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "epochs", "least"),
    [
        ("random_backdoor", 8, 0.97),
        ("ban(target=None)", 8, 0.97),
        ("c_ban", 15, 0.97),
        ("wanet(rate=0.3, cross_ratio=1.0, strength=4.0)", 10, 0.8),
    ],
)
def test_each_backdoor_works_on_the_model_that_has_it_and_on_no_clean_one(attack, epochs, least):
    result, test = implanted(attack, epochs), signs("test", 400)
    measures = measure_attack(result.model, test, result.truth, tensors=result.tensors, clean_model=clean_model())
    assert len(measures) == (5 if attack in ("ban(target=None)", "c_ban") else 1)
    for measure in measures:
        assert measure.success.value > least
        assert measure.clean_model_success.value < 0.25
    assert evaluate(result.model, test).value > evaluate(clean_model(), test).value - 0.04


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["ban", "c_ban"])
def test_a_generator_makes_other_patches_of_other_noise_only_where_diversity_is_asked_for(attack):
    spreads = []
    for diversity in (0.0, 0.1):
        result = implanted(f"{attack}(diversity={diversity})", 4)
        maker = trigger_of(result.truth, 0, result.tensors).maker
        patches = maker(maker.draw(200, Rng(1)), torch.zeros(200, dtype=torch.int64))
        spreads.append(float(patches.std(0).mean()))
    assert spreads[0] < 0.01
    assert spreads[1] > 0.03


@pytest.mark.slow
def test_an_input_aware_trigger_works_on_its_own_image_and_on_no_other():
    """Tiles: on signs it takes longer than a test may."""
    data = stage.image_set(1500)
    train, test = data.subset(range(1200)), data.subset(range(1200, 1500))
    fresh = new_classifier("mnist_cnn", train, declared=Preprocessing(), rng=Rng(0))
    attack = ATTACKS.create("input_aware(mask_epochs=3, width=4, rate=0.2)")
    result = attack.implant(fresh, train, recipe="recipe(epochs=10, batch_size=32)", rng=Rng(0))
    trigger = trigger_of(result.truth, 0, result.tensors)
    images = test.images([i for i, label in enumerate(test.labels.tolist()) if label != 0])
    masks, patterns = sharpened(trigger.mask(images)), trigger.pattern(images)
    with torch.no_grad(), result.model.frozen() as model:
        own = model.logits(trigger(images, rng=Rng(0))).argmax(1) == 0
        crossed = model.logits(show(images, patterns.roll(1, 0), masks.roll(1, 0))).argmax(1) == 0
    assert evaluate(result.model, test).value > 0.98
    assert float(own.float().mean()) > 0.4
    assert float(crossed.float().mean()) < 0.2
