"""What hardenings minimise on a batch, by hand on a linear model, and how they look at a model in training."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, ImageSet, Problem, Rng
from mantrap.errors import SpecError
from mantrap.evade.fgsm import Fgsm
from mantrap.evade.hardening import HARDENINGS, Fast, FgsmTraining, Noise, PgdTraining, Trades
from mantrap.evade.hardening.trades import divergences
from mantrap.ops.pgd import Ascent, away, pgd
from mantrap.ops.projections import norms
from mantrap.training import CROSS_ENTROPY
from tests.contracts.families import those
from tests.linear import Watched

SHAPE = (1, 4, 5)
IMAGES = 0.3 + 0.4 * torch.rand(12, *SHAPE, generator=Rng(0).torch())
LABELS = torch.arange(12) % 4
STREAM = Rng(1)

hardening = those(HARDENINGS)


def loss_of(hardening, model, images=IMAGES, labels=LABELS, rng=STREAM):
    return hardening.loss(model, images, labels, companions={}, rng=rng)


def learned(hardening, model=None, rng=STREAM):
    """The images that a batch is learned on beside the clean ones."""
    model = model or Watched(SHAPE)
    loss_of(hardening, model, rng=rng)
    return model.seen[-1][-len(IMAGES) :]


def entropies(model, images):
    with torch.no_grad():
        return cross_entropy(model.logits(images), LABELS)


class TestMixture:
    @pytest.mark.parametrize("clean", [0.25, 0.5])
    def test_the_loss_is_the_weighted_sum_of_both(self, clean):
        model = Watched(SHAPE)
        batch = loss_of(FgsmTraining(eps=0.1, clean=clean), model)
        moved = model.seen[-1][len(IMAGES) :]
        by_hand = clean * entropies(model, IMAGES) + (1 - clean) * entropies(model, moved)

        torch.testing.assert_close(batch.loss.detach(), by_hand)
        assert (batch.hits, batch.total) == (int((model.logits(IMAGES).argmax(1) == LABELS).sum()), 12)

    def test_without_weight_clean_images_are_not_even_looked_at(self):
        model = Watched(SHAPE)
        batch = loss_of(FgsmTraining(eps=0.1, clean=0.0), model)
        moved = model.seen[-1]

        assert len(moved) == len(IMAGES)
        torch.testing.assert_close(batch.loss.detach(), entropies(model, moved))
        assert batch.hits == int((model.logits(moved).argmax(1) == LABELS).sum())

    @pytest.mark.parametrize(
        ("spec", "field"),
        [
            ("fgsm_training(clean=1.0)", "clean"),
            ("fgsm_training(clean=-0.1)", "clean"),
            ("fgsm_training(eps=0.0)", "eps"),
            ("fgsm_training(eps=1.5)", "eps"),
            ("fgsm_training(norm='l1')", "norm"),
            ("pgd_training(steps=0)", "steps"),
            ("pgd_training(step=0.0)", "step"),
            ("fast(step=0.0)", "step"),
            ("trades(beta=0.0)", "beta"),
            ("trades(steps=0)", "steps"),
            ("trades(step=0.0)", "step"),
            ("trades(eps=0.0)", "eps"),
            ("noise(norm='l2')", "drawn"),
            ("noise(drawn='normal')", "drawn"),
            ("pool(size=0)", "size"),
            ("pool(renewed=0.0)", "renewed"),
            ("pool(renewed=1.5)", "renewed"),
            ("pool(mixed=0.0)", "mixed"),
            ("pool(evasion='nothing')", "evasion"),
        ],
    )
    def test_settings_out_of_range_are_refused(self, spec, field):
        with pytest.raises(SpecError, match=field):
            HARDENINGS.create(spec)


class TestFgsmTraining:
    def test_on_a_linear_model_of_two_classes_it_is_the_loss_with_the_margin_lowered_by_the_l1_norm(self):
        """Goodfellow et al., section 5: softplus(eps |w|_1 - margin), for w the difference of the classes' weights."""
        model, labels, eps = Watched(SHAPE, classes=2), LABELS % 2, 0.1
        weights = (model.module[1].weight[1] - model.module[1].weight[0]).detach()
        margins = (IMAGES.flatten(1) @ weights + model.module[1].bias.diff().detach()) * (2 * labels - 1)
        by_hand = torch.nn.functional.softplus(eps * weights.abs().sum() - margins).mean()
        batch = loss_of(FgsmTraining(eps=eps, clean=0.0), model, labels=labels)

        torch.testing.assert_close(batch.loss.detach(), by_hand)

    def test_it_goes_along_the_gradient_of_the_model_as_it_is(self):
        weight = Watched(SHAPE).module[1].weight.detach()
        model = Watched(SHAPE)
        chances = model.logits(IMAGES).softmax(1).detach()
        slopes = ((chances - nn.functional.one_hot(LABELS, 4)) @ weight).view_as(IMAGES)

        torch.testing.assert_close(learned(FgsmTraining(eps=0.1)), IMAGES + 0.1 * slopes.sign())


class TestPgdTraining:
    def test_it_learns_where_many_steps_from_a_random_start_end(self):
        ascent = Ascent(norm="l2", eps=0.5, step=0.1, steps=3)
        hardening, rng = PgdTraining(eps=0.5, norm="l2", step=0.2, steps=3), Rng(1).child("perturbed")
        by_hand = pgd(Watched(SHAPE), IMAGES, LABELS, climb=away, ascent=ascent, rng=rng)

        assert torch.equal(learned(hardening), by_hand)
        assert len(loss_images(hardening)) == len(IMAGES)

    def test_the_defaults_are_those_of_the_papers_digits(self):
        hardening = PgdTraining()

        assert (hardening.eps, hardening.steps, hardening.norm, hardening.clean) == (0.3, 40, "linf", 0.0)
        assert hardening.step * hardening.eps == pytest.approx(0.01)


class TestFast:
    def test_it_is_one_step_from_a_random_start_brought_back_into_the_ball(self):
        model, hardening = Watched(SHAPE), Fast(eps=0.2)
        moved = learned(hardening, model)
        start = model.seen[0]
        step = moved - start

        assert len(model.seen) == 2
        assert float((start - IMAGES).abs().max()) <= 0.2 + 1e-6
        assert (start - IMAGES).unique().numel() > 100
        assert float((moved - IMAGES).abs().max()) == pytest.approx(0.2, abs=1e-6)
        inside = (moved - IMAGES).abs() < 0.2 - 1e-6  # the step is 1.25 of the radius: few values stop inside
        assert 0.1 < float(inside.float().mean()) < 0.65
        torch.testing.assert_close(step[inside].abs(), torch.full_like(step[inside], 0.25))


class TestNoise:
    def test_signs_go_by_all_of_the_budget_and_are_even(self):
        change = learned(Noise(eps=0.1)) - IMAGES

        torch.testing.assert_close(change.abs(), torch.full_like(change, 0.1))
        assert abs(float(change.sign().mean())) < 0.3

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_even_noise_fills_the_ball(self, norm):
        change = learned(Noise(eps=0.2, norm=norm, drawn="even")) - IMAGES
        lengths = norms(change, norm)

        assert float(lengths.max()) <= 0.2 * (1 + 1e-5)
        assert change.unique().numel() > 200
        assert float(change.min()) < 0 < float(change.max())

    def test_it_asks_the_model_nothing_and_another_batch_has_other_noise(self):
        model = Watched(SHAPE)
        one, other = learned(Noise(eps=0.1), model), learned(Noise(eps=0.1), model, rng=Rng(2))

        assert len(model.seen) == 2
        assert not torch.equal(one, other)

    def test_what_leaves_the_range_is_clipped(self):
        moved = Watched(SHAPE)
        loss_of(Noise(eps=0.6), moved)

        assert (float(moved.seen[-1].min()), float(moved.seen[-1].max())) == (0.0, 1.0)


class TestTrades:
    def test_divergences_are_of_the_answers_first(self):
        answers, others = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
        by_hand = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)

        assert float(divergences(others, answers)) == pytest.approx(by_hand, rel=1e-5)
        assert float(divergences(answers, answers)) == pytest.approx(0, abs=1e-7)

    @pytest.mark.parametrize("beta", [1.0, 6.0])
    def test_the_loss_is_that_of_clean_images_and_the_weighted_divergence(self, beta):
        model = Watched(SHAPE)
        batch = loss_of(Trades(eps=0.1, beta=beta, steps=3), model)
        plain, moved = model.seen[-1].chunk(2)
        with torch.no_grad():
            apart = divergences(model.logits(moved), model.logits(plain)).mean()

        assert torch.equal(plain, IMAGES)
        assert float(apart) > 0
        torch.testing.assert_close(batch.loss.detach(), entropies(model, IMAGES) + beta * apart)
        assert batch.total == len(IMAGES)

    def test_many_steps_lead_away_from_the_answer_whatever_the_label(self):
        moved = []
        for labels in (LABELS, (LABELS + 1) % 4):
            model = Watched(SHAPE)
            loss_of(Trades(eps=0.1, steps=5, step=0.4), model, labels=labels)
            moved.append(model.seen[-1][len(IMAGES) :])
        with torch.no_grad():
            answers = model.logits(IMAGES)
            apart = divergences(model.logits(moved[0]), answers)
            noise = 0.1 * (torch.randint(0, 2, (100, *IMAGES.shape), generator=Rng(5).torch()) * 2.0 - 1)
            drawn = torch.stack([divergences(model.logits(IMAGES + one), answers) for one in noise])

        assert torch.equal(*moved)
        assert float((moved[0] - IMAGES).abs().max()) <= 0.1 + 1e-6
        assert bool((apart > drawn.amax(0)).all())

    def test_gradients_come_back_through_both_answers(self):
        model, twin = Watched(SHAPE), Watched(SHAPE)
        loss_of(Trades(eps=0.1, steps=2, beta=6.0), model).loss.backward()
        clean, misled = twin.logits(IMAGES), twin.logits(model.seen[-1][len(IMAGES) :])
        apart = (clean.softmax(1) * (clean.log_softmax(1) - misled.log_softmax(1))).sum(1).mean()
        (cross_entropy(clean, LABELS) + 6 * apart).backward()

        torch.testing.assert_close(model.module[1].weight.grad, twin.module[1].weight.grad)


def loss_images(hardening):
    model = Watched(SHAPE)
    loss_of(hardening, model)
    return model.seen[-1]


class Modes(nn.Module):
    """Dropout and batch normalisation, and a note of the mode of every pass."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(20, 4))
        self.learning = []

    def forward(self, x):
        self.learning.append((self.training, self.layers[1].training, len(x)))
        return self.layers(x)


class TestMode:
    def test_images_are_made_in_eval_mode_and_learned_in_training_mode(self, hardening):
        """As TRADES does it; one batch moves the batch statistics once, by the images that are learned."""
        with Rng(0).as_global():
            model = Classifier(Modes(), input_shape=SHAPE, num_classes=4)
            model.module.train()
            companions = hardening.companions(ImageSet.from_array(IMAGES, LABELS))
            hardening.loss(model, IMAGES, LABELS, companions=companions, rng=Rng(1)).loss.backward()
        *made, last = model.module.learning

        assert last[:2] == (True, True)
        assert not any(learning for learning, *_ in made)
        assert int(model.module.layers[0].num_batches_tracked) == 1
        assert model.module.layers[3].weight.grad is not None
        assert model.module.training

    def test_no_evasion_draws_from_the_stream_of_dropout(self, hardening):
        """The first units that are dropped are those that plain training drops."""
        found = []
        for objective in (hardening, CROSS_ENTROPY):
            model = Classifier(Modes(), input_shape=SHAPE, num_classes=4)
            model.module.train()
            model.module.layers[1].register_forward_hook(lambda m, _, out: found.append(out) if m.training else None)
            companions = hardening.companions(ImageSet.from_array(IMAGES, LABELS))
            with Rng(0).as_global():
                objective.loss(model, IMAGES, LABELS, companions=companions, rng=Rng(1))

        assert torch.equal(found[0][:1] == 0, found[1][:1] == 0)


def test_the_evasion_and_the_hardening_make_the_same_images():
    model = Watched(SHAPE)
    with model.frozen():
        by_evasion = Fgsm(eps=0.1).search(Problem(model, IMAGES, LABELS), rng=Rng(0))
    assert torch.equal(learned(FgsmTraining(eps=0.1)), by_evasion)
