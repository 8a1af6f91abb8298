"""Invisible perturbations: of the norm that was asked for, added and clipped; the adaptive one leads to its target."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import Rng
from mantrap.errors import DataError, SpecError, UsageError
from mantrap.ops.projections import norms
from mantrap.ops.scores import trigger_success
from mantrap.poison import TRIGGERS, ready
from mantrap.poison.triggers.perturbation import AdaptivePerturbation, StaticPerturbation
from tests.planted import Planted

PLANTED = Planted(shape=(1, 12, 10))
MODEL, IMAGES, TEST = PLANTED.model(), PLANTED.images(6, "train"), PLANTED.images(10, "test")
ADAPTIVE = AdaptivePerturbation(eps=0.3, step=0.1, steps=20, batch_size=16)


def learn(images=IMAGES, model=MODEL, target=3, *, trigger=ADAPTIVE, seed=0):
    return trigger.learn(images, model=model, target=target, rng=Rng(seed))


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    period=st.integers(1, 4),
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(0.01, 1.0),
)
def test_the_grid_has_the_norm_that_was_asked_for_and_one_pixel_a_cell(shape, period, norm, eps):
    added = StaticPerturbation(norm=norm, eps=eps, period=period).perturbation(shape)
    assert float(norms(added[None], norm)) == pytest.approx(eps, rel=1e-5)
    assert float(added.max()) == pytest.approx(float(added[added > 0].min()))
    for row in range(shape[1]):
        for column in range(shape[2]):
            raised = row % period == 0 and column % period == 0
            assert bool((added[:, row, column] > 0).all()) == raised
            assert bool((added[:, row, column] >= 0).all())


def test_the_grid_is_added_and_clipped():
    images = torch.tensor([0.0, 0.5, 0.99]).view(3, 1, 1, 1).expand(3, 2, 4, 6)
    after = StaticPerturbation()(images, rng=Rng(0))
    for before, image in zip([0.0, 0.5, 0.99], after, strict=True):
        raised = min(before + 10 / 255, 1.0)
        assert image[0, 0].tolist() == pytest.approx([raised, before] * 3)
        assert image[1, 1].tolist() == pytest.approx([before] * 6)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.3), ("l2", 3.3)])
def test_the_adaptive_one_leads_the_attackers_model_to_the_target_within_its_bound(norm, eps):
    trigger = AdaptivePerturbation(norm=norm, eps=eps, step=eps / 3, steps=20, batch_size=16)
    tensors = learn(trigger=trigger)
    assert set(tensors) == {"delta"}
    assert float(norms(tensors["delta"][None], norm)) <= eps * (1 + 1e-6)
    restored = trigger.restore(tensors)
    assert trigger_success(MODEL, TEST, lambda images: restored(images, rng=Rng(0)), 3).value > 0.95


def test_images_of_the_target_class_are_not_learned_on():
    """Without them nothing is left here but the class that the model does not confuse: the perturbation is the same."""
    others = IMAGES.subset([i for i, label in enumerate(IMAGES.labels.tolist()) if label != 3])
    assert torch.equal(learn()["delta"], learn(others)["delta"])


def test_its_spec_and_its_tensors_bring_it_back():
    tensors = learn()
    rebuilt = ready("adaptive_perturbation(eps=0.3)", tensors)
    expected = (TEST.images() + tensors["delta"]).clamp(0, 1)
    assert torch.equal(rebuilt(TEST.images(), rng=Rng(9)), expected)


def test_the_stream_decides_and_the_model_is_as_before():
    digest = MODEL.digest()
    assert torch.equal(learn()["delta"], learn()["delta"])
    assert not torch.equal(learn()["delta"], learn(seed=1)["delta"])
    assert MODEL.digest() == digest


def test_what_it_cannot_be_learned_from_is_refused():
    with pytest.raises(UsageError, match="expected a model for adaptive_perturbation"):
        learn(model=None)
    with pytest.raises(UsageError, match="expected one target for adaptive_perturbation"):
        learn(target=None)
    with pytest.raises(UsageError, match="6 classes, for adaptive_perturbation"):
        learn(target=5)
    with pytest.raises(UsageError, match=r"images of shape \(3, 12, 10\)"):
        learn(Planted(shape=(3, 12, 10)).images(2, "colour"))
    with pytest.raises(DataError, match="of classes other than 3, got none"):
        learn(IMAGES.subset([3, 8, 13]))
    with pytest.raises(DataError, match="expected labelled images"):
        learn(IMAGES.unlabelled())


def test_on_images_of_another_shape_it_is_refused():
    trigger = ADAPTIVE.restore({"delta": torch.zeros(1, 12, 10)})
    with pytest.raises(UsageError, match=r"expected images of shape \(1, 12, 10\), .*, got \(3, 12, 10\)"):
        trigger(torch.zeros(2, 3, 12, 10), rng=Rng(0))


@pytest.mark.parametrize(
    "spec",
    [
        "static_perturbation(eps=0)",
        "static_perturbation(eps=1.2)",
        "static_perturbation(period=0)",
        "adaptive_perturbation(eps=2)",
        "adaptive_perturbation(batch_size=0)",
        "adaptive_perturbation(step=-1)",
        "adaptive_perturbation(norm='l1')",
    ],
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        TRIGGERS.create(spec)
