"""Feature collision: on linear features the best poison is known in closed form."""

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.errors import DataError, SpecError, UsageError
from mantrap.measure import measure_attack
from mantrap.ops.features import features_of
from mantrap.poison import ATTACKS
from mantrap.poison.attacks import FeatureCollision
from mantrap.poison.attacks.feature_collision import Collision, collide
from mantrap.poison.clean_labels import OneImage

SHAPE, FEATURES, CLASSES = (1, 4, 5), 6, 3
LABELS = torch.arange(18) % CLASSES
IMAGES = ImageSet.from_array(
    0.35 + 0.3 * torch.rand(18, *SHAPE, generator=torch.Generator().manual_seed(0)), LABELS, name="toy"
)


def linear_model(*, biased=False):
    """Features are a linear map of the pixels; the last layer, behind them, decides by them."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = nn.Sequential(nn.Flatten(), nn.Linear(20, FEATURES), nn.Linear(FEATURES, CLASSES))
    if biased:
        nn.init.zeros_(network[2].weight)
        network[2].bias.data = torch.tensor([0.0, 0.0, 1.0])
    return Classifier(network, input_shape=SHAPE, num_classes=CLASSES)


MODEL = linear_model()


def beta(base, victim, closeness):
    """The weight of the distance to the base image."""
    weight = MODEL.module[1].weight.detach()
    apart = (base - victim).flatten()
    return float(closeness * (weight @ apart).square().sum() / apart.square().sum())


def best(base, victim, closeness):
    """The minimum of ``|W x - W t|^2 + beta |x - b|^2``: ``(W'W + beta)^-1 (W'W t + beta b)``."""
    weight = MODEL.module[1].weight.detach()
    gram, factor = weight.T @ weight, beta(base, victim, closeness)
    right = gram @ victim.flatten() + factor * base.flatten()
    return torch.linalg.solve(gram + factor * torch.eye(20), right).view(base.shape)


@pytest.mark.parametrize(("closeness", "watermark"), [(0.2, 0.0), (2.0, 0.3)])
def test_on_linear_features_the_best_poison_is_found(closeness, watermark):
    bases, victim = IMAGES.images()[:4], IMAGES.images()[5]
    collision = Collision(closeness=closeness, watermark=watermark, steps=100)
    poisons = collide(MODEL, bases, victim, collision=collision)
    expected = torch.stack([best(watermark * victim + (1 - watermark) * b, victim, closeness) for b in bases])
    assert 0 < float(expected.min()) < float(expected.max()) < 1
    torch.testing.assert_close(poisons, expected, atol=1e-4, rtol=0)


def test_the_features_may_be_those_of_a_named_layer():
    bases, victim = IMAGES.images()[:4], IMAGES.images()[5]
    by_default, by_name, of_logits = (
        collide(MODEL, bases, victim, collision=Collision(layer=layer, steps=20)) for layer in ("", "1", "2")
    )
    assert torch.equal(by_default, by_name)
    assert not torch.allclose(by_default, of_logits, atol=1e-2)


def test_a_poison_has_the_victims_features_and_still_the_bases_looks():
    bases, victim = IMAGES.images()[:4], IMAGES.images()[5]
    poisons = collide(MODEL, bases, victim, collision=Collision(closeness=0.02, watermark=0.0, steps=100))
    with MODEL.frozen(), torch.no_grad():
        apart, before = (
            (features_of(MODEL, images) - features_of(MODEL, victim[None])).norm(dim=1) for images in (poisons, bases)
        )
    assert bool((apart < 0.1 * before).all())
    assert bool(((poisons - bases).flatten(1).norm(dim=1) < (victim - bases).flatten(1).norm(dim=1)).all())


def test_no_step_makes_it_worse_and_more_steps_make_it_better():
    bases, victim = IMAGES.images()[:4], IMAGES.images()[5]

    def objective(steps):
        collision = Collision(closeness=0.02, steps=steps, watermark=0.0)
        poisons = collide(MODEL, bases, victim, collision=collision)
        with MODEL.frozen(), torch.no_grad():
            apart = (features_of(MODEL, poisons) - features_of(MODEL, victim[None])).square().sum(1)
        weights = torch.tensor([beta(base, victim, 0.02) for base in bases])
        return apart + weights * (poisons - bases).square().flatten(1).sum(1)

    values = torch.stack([objective(steps) for steps in (1, 2, 4, 8, 60)])
    assert bool((values.diff(dim=0) <= 1e-6).all())
    assert bool((values[-1] < 0.5 * values[0]).all())


def test_a_base_that_is_the_victim_stays_what_it_is():
    victim = IMAGES.images()[5]
    assert torch.equal(collide(MODEL, victim[None], victim, collision=Collision(watermark=0.0))[0], victim)


def test_the_victim_leaves_the_set_and_some_images_of_the_target_class_become_poisons():
    attack = FeatureCollision(target=2, source=1, victim=4, count=3, watermark=0.0, steps=20)
    poisoned = attack.apply(IMAGES, model=MODEL, rng=Rng(0))
    rest = IMAGES.subset([i for i in range(18) if i != 4])
    (backdoor,) = poisoned.truth.backdoors
    changed = (poisoned.data.images() != rest.images()).flatten(1).any(1)
    assert torch.equal(poisoned.tensors["0.image"], IMAGES.images([4])[0])
    assert torch.equal(poisoned.data.labels, rest.labels)
    assert tuple(torch.nonzero(changed).flatten().tolist()) == backdoor.poisoned
    assert rest.labels[changed].tolist() == [2, 2, 2]
    assert (backdoor.trigger, backdoor.relabelling) == ("victim", "one_image(target=2)")
    assert backdoor.training_trigger == "no_trigger"
    assert ATTACKS.create(poisoned.truth.attack) == attack
    assert poisoned.truth.poisoned_digest == poisoned.data.digest() != rest.digest() == poisoned.truth.clean_digest


def test_the_victim_is_drawn_from_its_class_by_the_stream():
    def victim(seed):
        attack = FeatureCollision(target=0, source=1, count=1, steps=1)
        return attack.apply(IMAGES, model=MODEL, rng=Rng(seed)).tensors["0.image"]

    seen = [victim(seed) for seed in range(8)]
    own = IMAGES.images([i for i in range(18) if LABELS[i] == 1])
    assert all(any(torch.equal(image, other) for other in own) for image in seen)
    assert torch.equal(victim(0), seen[0])
    assert not all(torch.equal(image, seen[0]) for image in seen)


@pytest.mark.parametrize(("target", "hits"), [(2, 1), (0, 0)])
def test_success_is_one_image_out_of_one(target, hits):
    """A model that gives everything class 2 takes the victim for it, too."""
    poisoned = FeatureCollision(target=target, source=1, count=2, steps=1).apply(IMAGES, model=MODEL, rng=Rng(0))
    (found,) = measure_attack(linear_model(biased=True), IMAGES, poisoned.truth, tensors=poisoned.tensors)
    assert (found.success.hits, found.success.total) == (hits, 1)
    assert (found.robust_accuracy.hits, found.robust_accuracy.total) == (0, 1)
    assert found.target == target


def test_one_image_is_aimed_at_the_first_of_its_class_and_poisons_the_target_class():
    aim = OneImage(target=0, source=2)
    assert aim.attacked(LABELS).nonzero().flatten().tolist() == [2]
    assert not bool(aim.attacked(torch.zeros(4, dtype=torch.int64)).any())
    assert aim.eligible(LABELS) == list(range(0, 18, 3))
    assert torch.equal(aim.relabel(LABELS[::3], num_classes=3, rng=Rng(0)), LABELS[::3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": 7}, "expected a source from 0 to 2 that has images, got 7"),
        ({"victim": 3}, "expected a victim out of the images of class 1, got image 3"),
        ({"victim": 99}, "expected a victim out of the images of class 1, got image 99"),
        ({"count": 7}, "expected a count of at most 6"),
        ({"layer": "head"}, "expected a layer out of 0, 1, 2, got 'head'"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_set_or_the_model_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        FeatureCollision(**({"count": 1} | options)).apply(IMAGES, model=MODEL, rng=Rng(0))


def test_without_a_model_or_labels_it_is_refused():
    with pytest.raises(UsageError, match="expected a model for feature_collision"):
        FeatureCollision(count=1).apply(IMAGES, rng=Rng(0))
    with pytest.raises(DataError, match="expected labels for toy, got none"):
        FeatureCollision(count=1).apply(IMAGES.unlabelled(), model=MODEL, rng=Rng(0))


@pytest.mark.parametrize(
    "option", ["source=0", "target=-1", "count=0", "closeness=0", "steps=0", "watermark=1", "watermark=-0.1"]
)
def test_settings_out_of_range_are_refused_at_once(option):
    with pytest.raises(SpecError):
        ATTACKS.create(f"feature_collision({option})")
