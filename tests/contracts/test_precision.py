"""A model in double precision is repaired, guarded, screened and looked at like its twin in single precision."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.evade.hardening import HARDENINGS
from mantrap.guard import GUARDS
from mantrap.ops.saliency import grad_cam, sensitivity
from mantrap.ops.scores import accuracy
from mantrap.repair import REPAIRS, SAFE_TRAININGS
from mantrap.screen import SCREENS
from tests.contracts.families import those
from tests.contracts.test_repairs import patch
from tests.poisoning import classifier
from tests.repairing import SMALL

repair, guard, screen, method, hardening = map(those, (REPAIRS, GUARDS, SCREENS, SAFE_TRAININGS, HARDENINGS))
TRIGGERS = (patch(SMALL.shape),)
IMAGES = SMALL.images(8, "images")


@pytest.fixture
def double():
    model = SMALL.model()
    model.module.double()
    return model


def test_answers_are_those_of_the_twin_and_of_the_type_of_the_images(double):
    twin = SMALL.model()
    for model in (double, twin):
        model.module.eval()
    found = double.logits(IMAGES.images())

    assert found.dtype == torch.float32
    assert torch.allclose(found, twin.logits(IMAGES.images()), atol=1e-4)
    assert accuracy(double, IMAGES) == accuracy(SMALL.model(), IMAGES)


def test_it_is_repaired_and_stays_in_double_precision(repair, double):
    made = repair.repair(double, IMAGES, triggers=TRIGGERS, rng=Rng(0)).model
    single = repair.repair(SMALL.model(), IMAGES, triggers=TRIGGERS, rng=Rng(0)).model

    assert {p.dtype for p in made.module.parameters()} == {torch.float64}
    assert abs(accuracy(made, IMAGES).value - accuracy(single, IMAGES).value) <= 0.1


def test_it_is_guarded(guard, double):
    clean = SMALL.images(-(-40 // SMALL.classes), "guard")
    found, twin = (guard.fit(m, clean, triggers=TRIGGERS, rng=Rng(0), fpr=0.1) for m in (double, SMALL.model()))

    assert found.score(IMAGES.images()).dtype == torch.float32
    assert torch.allclose(found.score(IMAGES.images()), twin.score(IMAGES.images()), atol=1e-3)


def test_its_training_set_is_screened(screen, double):
    clean = SMALL.images(4, "clean")
    found, twin = (screen.score(m, IMAGES, clean=clean, rng=Rng(0)) for m in (double, SMALL.model()))

    assert found.scores.dtype == torch.float32
    assert torch.equal(found.flagged, twin.flagged)


def test_it_is_trained_safely(method, double):
    made = method.train(double, IMAGES, recipe="recipe(epochs=1, batch_size=16)", rng=Rng(0)).model

    assert {p.dtype for p in made.module.parameters()} == {torch.float64}


def test_it_is_hardened(hardening, double):
    made = hardening.train(double, IMAGES, recipe="recipe(epochs=1, batch_size=16)", rng=Rng(0)).model

    assert {p.dtype for p in made.module.parameters()} == {torch.float64}


def test_what_it_looks_at_is_seen():
    model = classifier((3, 12, 12))
    images = torch.rand(2, 3, 12, 12, generator=Rng(0).torch())
    labels = torch.tensor([0, 1])
    single = sensitivity(model, images, labels, rng=Rng(0), copies=2), grad_cam(model, images, labels)
    model.module.double()
    double = sensitivity(model, images, labels, rng=Rng(0), copies=2), grad_cam(model, images, labels)

    assert torch.allclose(single[0], double[0], atol=1e-3)
    assert torch.allclose(single[1].float(), double[1].float(), atol=1e-3)
