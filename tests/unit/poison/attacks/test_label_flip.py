"""Flipped labels: what they cost a network, and that the truth claims no backdoor for them."""

import pytest
import torch
from torch import nn

from mantrap.core import ImageSet, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.measure import measure_attack
from mantrap.models import wrap
from mantrap.poison import ATTACKS
from mantrap.poison.attacks import LabelFlip
from mantrap.training import Recipe, evaluate, fit

CLASSES, RECIPE = 4, Recipe(epochs=10, batch_size=40, optimizer="adam(lr=0.03)")


def blobs(count, name):
    """Noise around a centre for each class; some of it overlaps."""
    centres = 0.5 + 0.1 * torch.randn(CLASSES, 1, 6, 6, generator=Rng(0).child("centres").torch())
    labels = torch.arange(count) % CLASSES
    noise = 0.2 * torch.randn(count, 1, 6, 6, generator=Rng(0).child(name).torch())
    return ImageSet.from_array((centres[labels] + noise).clamp(0, 1), labels, name=name)


TRAIN, TEST = blobs(400, "train"), blobs(1000, "test")


def trained(images):
    """Logistic regression."""
    with Rng(1).as_global():
        module = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    return fit(wrap(module, input_shape=(1, 6, 6)), images, recipe=RECIPE, rng=Rng(0)).model


@pytest.fixture(scope="module")
def clean_model():
    return trained(TRAIN)


def measured(attack, clean_model):
    """The model that was trained on flipped labels, and what they did to it."""
    poisoned = attack.apply(TRAIN, rng=Rng(0))
    model = trained(poisoned.data)
    (measure,) = measure_attack(model, TEST, poisoned.truth, clean_model=clean_model)
    return model, measure


def confusion(model, source, target):
    """Share of the test images of a class that the model takes for another one."""
    of_source = TEST.subset(torch.nonzero(TEST.labels == source).flatten().tolist())
    return evaluate(model, of_source.with_labels(torch.full((len(of_source),), target)))


@pytest.mark.parametrize(
    ("attack", "sources", "targets"),
    [
        (LabelFlip(rate=0.2), {0, 1, 2, 3}, {0, 1, 2, 3}),
        (LabelFlip(rate=0.2, target=2), {0, 1, 3}, {2}),
        (LabelFlip(rate=0.2, target=2, source=1), {1}, {2}),
    ],
    ids=str,
)
def test_labels_are_wrong_where_the_truth_says_and_no_pixel_changes(attack, sources, targets):
    result = attack.apply(TRAIN, rng=Rng(0))
    (backdoor,) = result.truth.backdoors
    wrong = torch.nonzero(result.data.labels != TRAIN.labels).flatten()
    assert tuple(wrong.tolist()) == backdoor.poisoned
    assert len(wrong) == 80
    assert set(TRAIN.labels[wrong].tolist()) == sources
    assert set(result.data.labels[wrong].tolist()) == targets
    assert torch.equal(result.data.images(), TRAIN.images())
    assert backdoor.trigger == backdoor.training_trigger == "no_trigger"
    assert backdoor.target == attack.target
    assert result.tensors == {}


def test_random_flips_cost_accuracy_and_the_measure_says_how_much(clean_model):
    model, measure = measured(LabelFlip(rate=0.6), clean_model)
    before, after = evaluate(clean_model, TEST), evaluate(model, TEST)
    assert before.value > 0.85
    assert after.high < before.low - 0.1
    # Without a trigger success is the share of errors, over all images, and nobody stands by.
    assert measure.success.hits == after.total - after.hits
    assert measure.success.total == len(TEST)
    assert measure.robust_accuracy == after
    assert measure.clean_model_success.hits == before.total - before.hits
    assert measure.bystanders is None


def test_no_person_sees_what_has_no_trigger(clean_model):
    (measure,) = measure_attack(clean_model, TEST, LabelFlip().apply(TRAIN, rng=Rng(0)).truth)
    stealth = measure.stealth
    assert (stealth.ssim, stealth.psnr, stealth.largest_change, stealth.l2) == (1.0, None, 0.0, 0.0)


def test_flips_from_one_class_to_another_confuse_these_two_and_leave_the_rest(clean_model):
    model, measure = measured(LabelFlip(rate=0.2, source=1, target=2), clean_model)
    assert measure.success == confusion(model, 1, 2)
    assert measure.clean_model_success == confusion(clean_model, 1, 2)
    assert measure.success.low > 0.6
    assert measure.clean_model_success.high < 0.1
    assert measure.bystanders.total == 500  # of classes 0 and 3
    assert measure.bystanders.high < 0.15
    for other in (0, 3):
        assert confusion(model, other, other).value > confusion(clean_model, other, other).value - 0.05


def test_flips_to_one_class_from_all_others_draw_all_others_there(clean_model):
    _, measure = measured(LabelFlip(rate=0.5, target=2), clean_model)
    assert measure.success.total == 750
    assert measure.success.low > 0.5
    assert measure.clean_model_success.high < 0.1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("label_flip(source=1)", "source only together with a target, got 1"),
        ("label_flip(source=1, target=1)", "other than the sources"),
        ("label_flip(target=-1)", "target of at least 0"),
        ("label_flip(rate=0)", "rate in"),
    ],
)
def test_settings_that_make_no_attack_are_refused(spec, words):
    with pytest.raises(SpecError, match=words):
        ATTACKS.create(spec)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (LabelFlip(target=4), "a target from 0 to 3, got 4"),
        (LabelFlip(target=1, source=7), "a source from 0 to 3, got 7"),
        (LabelFlip(rate=0.3, target=1, source=2), "selects 1 to 100 of 400 images, got 0.3, which selects 120"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_set_is_refused(attack, words):
    with pytest.raises(UsageError, match=words):
        attack.apply(TRAIN, rng=Rng(0))
