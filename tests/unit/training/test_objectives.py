"""What training minimises: plain cross-entropy by itself, or an objective that brings networks of its own along."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import ImageSet, Rng
from mantrap.errors import OutputError
from mantrap.models import wrap
from mantrap.training import Recipe, fit
from mantrap.training.objectives import CROSS_ENTROPY, BatchLoss, Objective, entropy

RECIPE = Recipe(epochs=3, batch_size=5, optimizer="sgd(lr=0.1, momentum=0.9)", schedule="cosine", augment="affine")


def coloured(count=13):
    pixels = torch.rand(count, 3, 4, 4, generator=Rng(0).child("pixels").torch())
    return ImageSet.from_array(pixels, torch.arange(count) % 4, name="coloured")


def start():
    with Rng(0).as_global():
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 4))
    return wrap(module, input_shape=(3, 4, 4))


def maker(seed=0):
    """A network that makes triggers; batch statistics and dropout are parts of its state."""
    with Rng(seed).child("maker").as_global():
        return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.3), nn.Tanh())


class Disturbed:
    """Images, and the same with what the companion makes of them and of noise: both shall get their label."""

    def __init__(self, companion=None, optimizer="adam(lr=0.01)", identity="disturbed"):
        self.companions = {"maker": companion or maker()}
        self.companion_optimizer, self.identity = optimizer, identity
        self.seen = []

    def loss(self, model, images, labels, *, companions, rng):
        self.seen.append((rng.integer(), companions["maker"], companions["maker"].training, model.module.training))
        noise = 0.1 * torch.rand(images.shape, generator=rng.torch())
        return entropy(
            model.logits(torch.cat([images, (images + noise + companions["maker"](images)).clamp(0, 1)])),
            torch.cat([labels, labels]),
        )


class Scaled:
    """Cross-entropy, plus three times a weight that is trained along."""

    identity, companion_optimizer = "scaled", "sgd(lr=0.5)"

    def __init__(self):
        self.companions = {"scale": nn.Linear(1, 1, bias=False)}

    def loss(self, model, images, labels, *, companions, rng):
        del rng
        plain = entropy(model.logits(images), labels)
        return BatchLoss(plain.loss + 3 * companions["scale"].weight.sum(), plain.hits, plain.total)


def weights(module):
    return [tensor.clone() for tensor in module.state_dict().values()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def result_of(trained):
    return weights(trained.model.module), {name: weights(c) for name, c in trained.companions.items()}, trained.record


def same(first, second):
    (model, companions, record), (other, others, another) = result_of(first), result_of(second)
    return equal(model, other) and all(equal(companions[k], others[k]) for k in companions) and record == another


class TestCrossEntropy:
    def test_it_is_the_mean_of_the_batch_with_the_count_of_right_answers(self):
        logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]]), torch.tensor([0, 0, 0])
        batch = entropy(logits, labels)
        by_hand = -sum(float(torch.log_softmax(row, 0)[0]) for row in logits) / 3
        assert float(batch.loss) == pytest.approx(by_hand)
        assert (batch.hits, batch.total) == (2, 3)

    def test_it_is_an_objective_without_companions_and_the_default(self):
        assert isinstance(CROSS_ENTROPY, Objective)
        named = fit(start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=CROSS_ENTROPY)
        assert named.companions == {}
        assert same(named, fit(start(), coloured(), recipe=RECIPE, rng=Rng(0)))

    def test_training_with_it_is_a_plain_loop_bitwise(self):
        order, data = [], coloured()

        class Noted:
            shape = data.source.shape

            def __len__(self):
                return len(data)

            def read(self, index):
                order.append(list(index))
                return data.source.read(index)

        images = ImageSet(Noted(), data.labels)
        images.digest()
        order.clear()
        recipe = Recipe(epochs=2, batch_size=5, optimizer="sgd(lr=0.1, momentum=0.9)")
        trained = fit(start(), images, recipe=recipe, rng=Rng(0)).model
        assert [len(batch) for batch in order] == [5, 5, 3] * 2

        module = start().module.train().to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        for batch in order:
            optimizer.zero_grad()
            cross_entropy(module(data.images(batch)), data.labels[batch]).backward()
            optimizer.step()
        assert equal(weights(trained.module), weights(module))


class TestCompanions:
    def test_a_companion_is_trained_along_and_the_objectives_own_is_untouched(self):
        objective = Disturbed()
        own = objective.companions["maker"]
        own.eval()
        before = weights(own)
        trained = fit(start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=objective)
        after = trained.companions["maker"]
        assert isinstance(objective, Objective)
        assert all(not torch.equal(a, b) for a, b in zip(before, weights(after), strict=True))
        assert equal(weights(own), before)
        assert after is not own
        assert not any(module.training for module in own.modules())
        assert all(parameter.grad is None for parameter in own.parameters())

    def test_in_training_both_are_in_training_mode_and_afterwards_in_eval_mode(self):
        objective = Disturbed()
        trained = fit(start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=objective)
        assert all(seen[2:] == (True, True) for seen in objective.seen)
        assert {id(seen[1]) for seen in objective.seen} == {id(trained.companions["maker"])}
        assert not any(module.training for module in trained.companions["maker"].modules())
        assert not any(module.training for module in trained.model.module.modules())

    def test_every_batch_has_a_stream_of_its_own_that_the_seed_settles(self):
        first, again, other = Disturbed(), Disturbed(), Disturbed()
        runs = [
            fit(start(), coloured(), recipe=RECIPE, rng=Rng(seed), objective=objective)
            for seed, objective in ((0, first), (0, again), (1, other))
        ]
        streams = [[seen[0] for seen in objective.seen] for objective in (first, again, other)]
        assert len(streams[0]) == len(set(streams[0])) == 9
        assert streams[0] == streams[1]
        assert not set(streams[0]) & set(streams[2])
        assert same(runs[0], runs[1])
        assert not same(runs[0], runs[2])

    def test_its_optimiser_is_the_one_that_the_objective_names(self):
        objective = Scaled()
        before = float(objective.companions["scale"].weight.detach())
        recipe = Recipe(epochs=1, batch_size=13, optimizer="sgd(lr=0.01)")
        trained = fit(start(), coloured(), recipe=recipe, rng=Rng(0), objective=objective)
        after = float(trained.companions["scale"].weight.detach())
        assert after == pytest.approx(before - 0.5 * 3, abs=1e-6)
        plain = fit(start(), coloured(), recipe=recipe, rng=Rng(0))
        assert equal(weights(trained.model.module), weights(plain.model.module))
        assert trained.record.epochs[0].loss == pytest.approx(plain.record.epochs[0].loss + 3 * before, abs=1e-5)

    def test_it_follows_the_schedule_of_the_recipe_from_its_own_rate(self):
        objective = Scaled()
        before = float(objective.companions["scale"].weight.detach())
        recipe = Recipe(epochs=3, batch_size=13, optimizer="sgd(lr=0.01)", schedule="step(every=1, gamma=0.1)")
        trained = fit(start(), coloured(), recipe=recipe, rng=Rng(0), objective=objective)
        after = float(trained.companions["scale"].weight.detach())
        assert after == pytest.approx(before - 0.5 * 3 * 1.11, abs=1e-6)

    def test_the_accuracy_of_an_epoch_is_over_all_answers_that_the_objective_counts(self):
        class Twice:
            identity, companion_optimizer, companions = "twice", "adam", {}

            def loss(self, model, images, labels, *, companions, rng):
                del companions, rng
                plain = entropy(model.logits(images), labels)
                return BatchLoss(plain.loss, 3, 2 * len(labels))

        record = fit(start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=Twice()).record
        assert [epoch.accuracy for epoch in record.epochs] == [9 / 26] * 3

    @pytest.mark.parametrize("kill_in", [1, 2, 3])
    @pytest.mark.parametrize("optimizer", ["adam(lr=0.01)", "sgd(lr=0.1, momentum=0.9)"])
    def test_killed_in_any_epoch_model_and_companion_go_on_bitwise(self, tmp_path, kill_in, optimizer):
        class Killer:
            @contextmanager
            def stage(self, *_):
                yield self

            def advance(self, amount=1, note=""):
                del amount
                if note.startswith(f"epoch {kill_in},"):
                    raise KeyboardInterrupt

        def run(**options):
            return fit(
                start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=Disturbed(optimizer=optimizer), **options
            )

        checkpoint = tmp_path / "checkpoint"
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint=checkpoint, progress=Killer())
        assert checkpoint.exists() == (kill_in > 1)
        assert same(run(checkpoint=checkpoint), run())
        assert same(run(checkpoint=checkpoint), run())  # a finished training gives its companions back as well

    def test_the_checkpoint_of_another_objective_is_refused(self, tmp_path):
        checkpoint = tmp_path / "checkpoint"
        fit(start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=Disturbed(), checkpoint=checkpoint)
        for objective in (Disturbed(identity="disturbed more"), CROSS_ENTROPY):
            with pytest.raises(OutputError, match="to belong to this training"):
                fit(start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=objective, checkpoint=checkpoint)

    def test_a_companion_that_starts_elsewhere_makes_it_another_training(self, tmp_path):
        checkpoint, first = tmp_path / "checkpoint", maker()
        fit(start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=Disturbed(first), checkpoint=checkpoint)
        other = Disturbed(maker(seed=1))
        with pytest.raises(OutputError, match="to belong to this training"):
            fit(start(), coloured(), recipe=RECIPE, rng=Rng(0), objective=other, checkpoint=checkpoint)
