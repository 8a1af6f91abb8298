"""What a recipe may minimise: values by hand, and what each of them teaches which layers."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.models import wrap
from mantrap.training import CROSS_ENTROPY, LOSSES, Recipe, fit
from mantrap.training.losses import OneAgainstRest, SparseAutoencoder, divergence, minimised
from tests.planted import Planted

PLANTED = Planted(shape=(1, 6, 6), classes=4)
IMAGES = PLANTED.images(16, "training")
PIXELS, LABELS = IMAGES.images(), IMAGES.labels
RECIPE = {"epochs": 3, "batch_size": 16, "optimizer": "sgd(lr=0.1)"}


def coder(seed=0):
    """Twelve sigmoid units and a softmax on them."""
    with Rng(seed).as_global():
        module = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Sigmoid(), nn.Linear(12, 4))
    return wrap(module, input_shape=(1, 6, 6))


def loss_of(objective, model, images=PIXELS, labels=LABELS):
    return objective.loss(model, images, labels, companions=objective.companions, rng=Rng(0))


def gradients(objective, model, labels=LABELS):
    """By name, of the model's weights and of the companions'."""
    model.module.zero_grad()
    loss_of(objective, model, labels=labels).loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.module.named_parameters()}


class TestPlain:
    def test_it_is_the_default(self):
        assert Recipe().loss == "cross_entropy"
        assert LOSSES.create("cross_entropy").objective(coder(), Rng(0)) is CROSS_ENTROPY
        assert minimised("cross_entropy", None, coder(), Rng(0)) is CROSS_ENTROPY


class TestOneAgainstRest:
    def test_every_class_is_a_question_of_its_own(self):
        model, objective = coder(), OneAgainstRest().objective(coder(), Rng(0))
        rows = model.logits(PIXELS).detach().double().tolist()
        by_hand = sum(
            math.log1p(math.exp(-value if k == label else value))
            for row, label in zip(rows, LABELS.tolist(), strict=True)
            for k, value in enumerate(row)
        ) / len(rows)
        batch = loss_of(objective, model)

        assert float(batch.loss.detach()) == pytest.approx(by_hand, rel=1e-5)
        right = sum(max(range(4), key=row.__getitem__) == label for row, label in zip(rows, LABELS, strict=True))
        assert (batch.hits, batch.total) == (right, len(rows))

    def test_a_recipe_that_names_it_is_trained_on_it(self):
        named = fit(coder(), IMAGES, recipe=Recipe(loss="one_against_rest", **RECIPE), rng=Rng(0)).model
        given = fit(coder(), IMAGES, recipe=Recipe(**RECIPE), rng=Rng(0), objective=OneAgainstRest()).model
        plain = fit(coder(), IMAGES, recipe=Recipe(**RECIPE), rng=Rng(0)).model

        assert named.digest() == given.digest() != plain.digest()


class TestSparseAutoencoder:
    def test_the_divergence_is_that_of_coins(self):
        means = torch.tensor([0.2, 0.1])
        by_hand = 0.1 * math.log(0.1 / 0.2) + 0.9 * math.log(0.9 / 0.8)

        assert float(divergence(0.1, means)) == pytest.approx(by_hand, rel=1e-5)
        assert divergence(0.1, torch.tensor([0.0, 1.0])).isfinite()

    def test_its_value_is_the_sum_of_three(self):
        model = coder()
        objective = SparseAutoencoder(active=0.2, sparsity=3.0).objective(model, Rng(0))
        features = model.features(PIXELS, "2").detach()
        painted = objective.companions["decoder"](features).sigmoid()
        error = float(((painted - PIXELS.flatten(1)) ** 2).sum(1).mean().detach() / 2)
        batch, logits = loss_of(objective, model), model.logits(PIXELS).detach()
        by_hand = float(cross_entropy(logits, LABELS)) + error + 3 * float(divergence(0.2, features.mean(0)))

        assert float(batch.loss.detach()) == pytest.approx(by_hand, rel=1e-5)
        assert (batch.hits, batch.total) == (int((logits.argmax(1) == LABELS).sum()), len(LABELS))
        assert objective.companions["decoder"].weight.shape == (36, 12)

    def test_labels_teach_the_layers_above_the_features_and_none_below(self):
        model = coder()
        objective = SparseAutoencoder().objective(model, Rng(0))
        found, others = gradients(objective, model), gradients(objective, model, labels=(LABELS + 1) % 4)
        plain = gradients(CROSS_ENTROPY, coder())

        assert torch.equal(found["1.weight"], others["1.weight"])
        assert not torch.equal(found["1.weight"], plain["1.weight"])
        torch.testing.assert_close(found["3.weight"], plain["3.weight"])
        assert not torch.equal(found["3.weight"], others["3.weight"])

    def test_trained_on_it_features_paint_the_image_and_few_are_active(self):
        settings = {"epochs": 60, "batch_size": 16, "optimizer": "adam(lr=0.03)"}
        loss = "sparse_autoencoder(active=0.1, sparsity={})"
        errors, activity, right = {}, {}, {}
        for weight in (0.0, 1.0):
            made = fit(coder(), IMAGES, recipe=Recipe(loss=loss.format(weight), **settings), rng=Rng(0))
            with torch.no_grad():
                features = made.model.features(PIXELS, "2")
                painted = made.companions["decoder"](features).sigmoid()
            errors[weight] = float((painted - PIXELS.flatten(1)).square().mean())
            activity[weight] = float(features.mean())
            right[weight] = made.record.epochs[-1].accuracy

        assert errors[0.0] < 0.6 * float(PIXELS.var(0).mean())
        assert abs(activity[1.0] - 0.1) < 0.05 < abs(activity[0.0] - 0.1)
        assert min(right.values()) > 0.95

    def test_no_hook_stays_behind_and_none_when_the_model_raises(self):
        model = coder()
        objective = SparseAutoencoder().objective(model, Rng(0))
        loss_of(objective, model)
        with pytest.raises(RuntimeError):
            loss_of(objective, model, images=torch.zeros(2, 1, 5, 5), labels=LABELS[:2])

        assert not any(module._forward_hooks for module in model.module.modules())

    def test_the_decoder_is_drawn_from_the_stream_and_fits_the_model(self):
        one, same, other = (SparseAutoencoder().objective(coder(), Rng(seed)) for seed in (0, 0, 1))
        weights = [objective.companions["decoder"].weight for objective in (one, same, other)]

        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

        model = coder()
        model.module.double()
        assert SparseAutoencoder().objective(model, Rng(0)).companions["decoder"].weight.dtype == torch.float64

    @pytest.mark.parametrize(
        ("layer", "message"),
        [("1", r"units are in \[0, 1\], such as sigmoids, in place of '1'"), ("7", "a layer out of 0, 1, 2, 3")],
    )
    def test_a_layer_that_cannot_be_held_to_few_active_units_is_refused(self, layer, message):
        with pytest.raises(UsageError, match=message):
            fit(coder(), IMAGES, recipe=Recipe(loss=f"sparse_autoencoder(layer='{layer}')"), rng=Rng(0))

    @pytest.mark.parametrize("wrong", ["active=0.0", "active=1.0", "sparsity=-1.0"])
    def test_settings_out_of_range_are_refused(self, wrong):
        with pytest.raises(SpecError, match=wrong.split("=")[0]):
            LOSSES.create(f"sparse_autoencoder({wrong})")


def test_a_recipe_refuses_a_loss_that_is_not_there():
    with pytest.raises(SpecError, match="loss"):
        Recipe(loss="hinge")


def test_what_brings_its_own_objective_wants_a_recipe_without_a_loss():
    with pytest.raises(UsageError, match=r"without a loss of its own, for one_against_rest has one.*Leave the loss"):
        fit(coder(), IMAGES, recipe=Recipe(loss="sparse_autoencoder"), rng=Rng(0), objective=OneAgainstRest())
