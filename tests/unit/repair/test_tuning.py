"""How a model is trained on: how often, with which images, and what that cost."""

import dataclasses

import pytest
import torch
from torch import nn

from mantrap.core import SILENT, Classifier, Cost, ImageSet, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.repair.tuning import Tuning, with_answers
from mantrap.training import Recipe, entropy, fit
from tests.contracts.test_detectors import Watch
from tests.planted import Planted
from tests.repairing import Passes, dense, equal, state

PLANTED = Planted(shape=(1, 4, 5), classes=3)
FEW = Tuning(updates=3, batch_size=4, optimizer="sgd(lr=0.01)", schedule="constant")


def images(count):
    return PLANTED.images(count, "repair").subset(range(count))


def model():
    return dense(PLANTED.shape, PLANTED.classes)


def tuned(tuning, model, learned, **keywords):
    return tuning.tuned(model, learned, **{"rng": Rng(0), "progress": SILENT} | keywords)


class TestRecipe:
    @pytest.mark.parametrize(
        ("epochs", "updates", "batch_size", "count", "passes"),
        [
            (1, 200, 32, 10, 200),
            (1, 200, 32, 1000, 7),
            (1, 200, 32, 6400, 1),
            (1, 201, 32, 6400, 2),
            (1, 201, 32, 6401, 1),
            (1, 10, 4, 5, 5),
            (1, 9, 4, 5, 5),
            (5, 200, 32, 6400, 5),
            (3, 0, 32, 10, 3),
            (1, 7, 4, 1, 7),
        ],
    )
    def test_of_few_images_there_are_more_passes(self, epochs, updates, batch_size, count, passes):
        tuning = Tuning(epochs=epochs, updates=updates, batch_size=batch_size)

        assert tuning.recipe(count).epochs == passes

    def test_images_are_augmented_where_that_is_asked_for(self):
        assert Tuning(augment="affine(shift=0.05)").recipe(70).augment == "affine(shift=0.05)"

    def test_the_other_settings_are_those_of_the_repair_and_nothing_is_augmented(self):
        tuning = Tuning(epochs=2, updates=0, batch_size=7, optimizer="sgd(lr=0.5)", schedule="step(every=3)")

        assert tuning.recipe(70) == Recipe(epochs=2, batch_size=7, optimizer="sgd(lr=0.5)", schedule="step(every=3)")

    @pytest.mark.parametrize(
        ("field", "value", "refused"),
        [
            ("epochs", 0, "epochs of at least 1, got 0"),
            ("updates", -1, "updates of at least 0, got -1"),
            ("batch_size", 1, "batch_size of at least 2, got 1"),
            ("optimizer", "adamant", "optimiser"),
            ("schedule", "timetable", "schedule"),
            ("augment", "mirror", "augmentation"),
        ],
    )
    def test_what_cannot_be_is_refused_at_once(self, field, value, refused):
        with pytest.raises(SpecError, match=refused):
            Tuning(**{field: value})

    def test_the_least_that_can_be_is_taken(self):
        assert Tuning(epochs=1, updates=0, batch_size=2).recipe(8).epochs == 1


class TestTuned:
    def test_it_is_a_training_by_that_recipe(self):
        made, cost = tuned(FEW, model(), images(8))
        by_hand = fit(model(), images(8), recipe=FEW.recipe(8), rng=Rng(0)).model

        assert equal(made, by_hand)
        assert not equal(made, tuned(FEW, model(), images(8), rng=Rng(1))[0])
        assert cost == Cost(forward=24, backward=16)

    def test_of_the_layers_that_are_named_alone_weights_change(self):
        start = model()
        made, cost = tuned(FEW, start, images(8), layers=("4",))
        changed = {name for name, value in state(made).items() if not torch.equal(value, state(start)[name])}

        assert changed == {"4.weight", "4.bias"}
        assert cost == tuned(FEW, start, images(8))[1]

    def test_the_model_stays_as_it_is(self):
        start = model()
        made, _ = tuned(FEW, start, images(8))

        assert equal(start, model())
        assert not equal(made, start)

    @pytest.mark.parametrize(("count", "batches"), [(5, 1), (9, 2), (13, 3)])
    def test_a_last_image_that_would_be_a_batch_by_itself_is_left_out(self, count, batches):
        start = model()
        passes = Passes(start)
        made, cost = tuned(FEW, start, FEW.whole_batches(images(count)))

        epochs = -(-3 // batches)
        assert [len(batch) for batch in passes.learned] == [4] * batches * epochs
        assert equal(made, tuned(FEW, model(), images(count).subset(range(count - 1)))[0])
        assert cost.backward == epochs * (count - 1)

    def test_one_image_alone_is_refused(self):
        with pytest.raises(UsageError, match="two images to learn from, at least, got one"):
            FEW.whole_batches(images(1))

    @pytest.mark.parametrize("count", [4, 6, 7])
    def test_otherwise_none_is_left_out(self, count):
        start = model()
        passes = Passes(start)
        _, cost = tuned(dataclasses.replace(FEW, updates=0), start, FEW.whole_batches(images(count)))

        assert passes.backward == cost.backward == count
        assert passes.forward == cost.forward == 2 * count

    def test_one_image_by_itself_is_learned_from(self):
        start = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), input_shape=(1, 4, 5), num_classes=3)
        made, cost = tuned(FEW, start, images(1))

        assert cost == Cost(forward=4, backward=3)
        assert not equal(made, start)

    def test_what_is_minimised_can_be_said(self):
        class Flipped:
            identity, companion_optimizer, companions = "flipped", "adam", {}

            def loss(self, model, images, labels, *, companions, rng):
                del companions, rng
                return entropy(model.logits(images.flip(-1)), labels)

        mirrored = ImageSet.from_array(images(8).images().flip(-1), images(8).labels)
        made, _ = tuned(FEW, model(), images(8), objective=Flipped())

        assert equal(made, tuned(FEW, model(), mirrored)[0])
        assert not equal(made, tuned(FEW, model(), images(8))[0])

    def test_it_can_be_watched(self):
        watch = Watch()
        tuned(FEW, model(), images(8), progress=watch)

        assert watch.done == pytest.approx({"train": 2})


class TestAnswers:
    def test_images_with_labels_are_as_they_are_and_cost_nothing(self):
        wrong = images(8).with_labels(torch.arange(8) % 2)
        found, cost = with_answers(PLANTED.model(), wrong)

        assert found is wrong
        assert cost == Cost()

    def test_those_without_get_the_models_own_answers_for_a_look_at_each(self):
        start = PLANTED.model()
        passes = Passes(start)
        found, cost = with_answers(start, images(8).unlabelled())

        assert torch.equal(found.labels, images(8).labels)
        assert torch.equal(found.images(), images(8).images())
        assert cost == Cost(forward=passes.forward) == Cost(forward=8)
