"""A faint change of all pixels that is known in closed form, and found; the rest is in ``test_reversal.py``.

The plant is a hinge on the inner product with a direction of root mean square 1, to which all classes' templates are at
right angles. It opens where an image is moved along it by ``FAINT`` times ``THRESHOLD``, and for that no change is
shorter than the one along it. Other labels need about the contrast of a class, four times as much.
"""

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, leaky_relu, one_hot

from mantrap.core import Classifier, ReversedPerturbation, Rng
from mantrap.detect import UniversalPerturbation
from mantrap.detect.arms import ArmSearch
from mantrap.detect.passes import Arm
from mantrap.errors import SpecError
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import accuracy, trigger_success
from tests.planted import Planted

CLEAN = Planted(shape=(1, 16, 16), classes=5)
TARGET, FAINT, THRESHOLD, GAIN, LEAK = 3, 0.05, 0.9, 200.0, 0.02
LONGER = UniversalPerturbation(steps=150, precision="float32")


def direction():
    """[1, h, w], root mean square 1, at right angles to all templates."""
    basis, _ = torch.linalg.qr(CLEAN.templates.flatten(1).T)
    drawn = torch.randn(16 * 16, generator=Rng(0).torch())
    along = drawn - basis @ (basis.T @ drawn)
    return (along / along.pow(2).mean().sqrt()).view(CLEAN.shape)


class Blended(nn.Module):
    """The clean planted network, and a hinge towards the target."""

    def __init__(self):
        super().__init__()
        self.clean = CLEAN.model().module
        self.register_buffer("along", direction())

    def forward(self, signs):
        match = (signs * CLEAN.amplitude * self.along).mean((1, 2, 3)) / FAINT
        added = GAIN * (leaky_relu(match - THRESHOLD, LEAK) + LEAK * THRESHOLD)
        return self.clean(signs) + added[:, None] * one_hot(torch.tensor(TARGET), CLEAN.classes)


def blended():
    return Classifier(
        Blended(), input_shape=CLEAN.shape, num_classes=CLEAN.classes, mean=(CLEAN.base,), std=(CLEAN.amplitude,)
    )


def scan(model, settings=LONGER):
    return settings.detect(model, CLEAN.images(20, "scan"), heldout=CLEAN.images(8, "heldout"), rng=Rng(2))


@pytest.fixture(scope="module")
def found():
    return scan(blended())


def test_the_oracle_is_what_it_claims_to_be():
    model, images = blended(), CLEAN.images(8, "heldout")
    planted = ReversedPerturbation(TARGET, 1.2 * FAINT * direction())

    def success(of):
        return trigger_success(of, images, lambda batch: put_on(batch, planted), TARGET).value

    assert accuracy(model, images).value == 1.0
    assert (success(model), success(CLEAN.model())) == (1.0, 0.0)


def test_the_planted_label_is_named_first_and_needs_what_the_plant_needs(found):
    sizes = found.traits["perturbation"]

    assert found.suspects[0] == TARGET
    assert 0.8 * FAINT <= sizes[TARGET] <= 1.2 * FAINT
    assert min(size for label, size in sizes.items() if label != TARGET) > 2 * FAINT


def test_the_perturbation_that_is_found_is_the_planted_one(found):
    trigger = found.trigger_for(TARGET)

    assert isinstance(trigger, ReversedPerturbation)
    assert float(cosine_similarity(trigger.delta.flatten(), direction().flatten(), dim=0)) > 0.85


def test_it_works_on_images_that_the_search_has_not_seen(found):
    success = found.finding_for(TARGET).success

    assert success.total == 8 * 4
    assert success.value >= 0.95


def test_without_the_plant_no_label_needs_much_less_than_another():
    sizes = scan(CLEAN.model()).traits["perturbation"]

    assert sorted(sizes) == [0, 1, 2, 3, 4]
    assert min(sizes.values()) > 0.75 * max(sizes.values())


def test_changes_stay_within_the_range_of_pixels_however_long_the_steps():
    wild = UniversalPerturbation(steps=3, rate=10.0, scale=5.0)
    model = CLEAN.model()
    model.module.eval()
    search = ArmSearch(model, CLEAN.images(4, "scan").images(), [Arm(1, 0)], wild, Rng(0), at_once=8)
    for _ in range(wild.steps + 1):
        assert float(search.triggers.delta.min()) == -1.0
        assert float(search.triggers.delta.max()) == 1.0
        search.advance() if search.step < wild.steps else None


def test_its_trait_is_the_root_mean_square_of_a_change():
    assert UniversalPerturbation().traits({2: 6.0, 4: 0.75}, (3, 3, 4)) == {"perturbation": {2: 1.0, 4: 0.125}}


@pytest.mark.parametrize("bad", [{"rate": 0.0}, {"scale": 0.0}])
def test_settings_of_changes_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        UniversalPerturbation(**bad)
