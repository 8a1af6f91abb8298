"""Isolation: what keeps its label under whatever is laid over it is set apart, and the rest is learned anew."""

import pytest
import torch

from mantrap.core import Cost, ImageSet, Rng, Spec, build
from mantrap.errors import FailedError, SpecError
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import accuracy, trigger_success
from mantrap.repair import Isolation
from mantrap.training import Recipe, fit
from tests.planted import Planted
from tests.repairing import EVERY, LOWER, PLANTED, RECIPE, dense, equal, framed, suspects

TELLING = Isolation(contrast=1.5)
UNSEEN = framed(PLANTED.images(50, "unseen"))


def plain(images):
    model = dense(PLANTED.shape, PLANTED.classes)
    return fit(model, images, recipe=build(Recipe, Spec.parse(RECIPE)), rng=Rng(0)).model


def safe(images, method=TELLING):
    return method.train(dense(PLANTED.shape, PLANTED.classes), images, recipe=RECIPE, rng=Rng(0))


def success(model):
    return trigger_success(model, UNSEEN, lambda batch: put_on(batch, LOWER), LOWER.target).value


class TestPoisoned:
    def test_the_poisoned_images_are_set_apart_and_no_others(self):
        made = safe(suspects())
        poison = tuple(range(0, len(suspects()), EVERY))

        assert made.apart == poison
        assert made.labels == {LOWER.target: len(poison)}
        assert made.training.apart == len(poison)

    def test_the_trigger_means_nothing_to_the_model_and_nothing_else_is_lost(self):
        made = safe(suspects()).model

        assert success(plain(suspects())) == 1.0
        assert success(made) == 0.0
        assert accuracy(made, UNSEEN).value == 1.0

    def test_it_is_what_comes_of_training_on_the_others_alone(self):
        others = suspects().subset([n for n in range(len(suspects())) if n % EVERY])

        assert equal(safe(suspects()).model, plain(others))

    def test_it_costs_two_trainings_and_a_look_at_every_image_for_each_overlay(self):
        poison = len(range(0, len(suspects()), EVERY))
        seen = 6 * (2 * len(suspects()) - poison)

        assert safe(suspects()).cost == Cost(forward=seen + 16 * len(suspects()), backward=seen)

    def test_it_says_how_many(self):
        assert safe(suspects()).notes == ("Of 256 images 37 were set apart, and their labels were not learned.",)

    def test_a_label_most_of_whose_images_are_set_apart_is_named(self):
        images = suspects()
        kept = [n for n in range(len(images)) if n % EVERY == 0 or int(images.labels[n]) != 2 or n < 40]
        found = safe(images.subset(kept))

        some, all_of = found.labels[2], int((images.labels[kept] == 2).sum())
        assert some > all_of / 2
        assert found.notes[1] == (
            f"Of the {all_of} images labelled 2 these are {some}: either a backdoor leads there, or the class is lost."
        )


class TestClean:
    def test_nothing_is_set_apart_and_the_model_is_that_of_plain_training(self):
        images = framed(PLANTED.images(64, "training"))
        made = safe(images)

        assert (made.apart, dict(made.labels)) == ((), {})
        assert equal(made.model, plain(images))
        assert made.notes == ("Of 256 images none was set apart: the model is that of an ordinary training.",)
        assert made.cost == Cost(forward=(6 + 16) * 256, backward=6 * 256)


class TestIsolated:
    """On the planted model, of which it is known without training what a trigger does."""

    PLANT = Planted(shape=(1, 8, 8), classes=4, target=1)

    def images(self):
        mask, pattern = self.PLANT.trigger.mask_and_pattern(self.PLANT.shape)
        clean, bad = framed(self.PLANT.images(20, "images")), (0, 21, 42, 63)
        pixels, labels = clean.images(), clean.labels.clone()
        pixels[list(bad)], labels[list(bad)] = pixels[list(bad)] * (1 - mask) + pattern * mask, 1
        return ImageSet.from_array(pixels, labels, name="images"), bad

    def test_those_with_the_trigger_are_told_from_the_others(self):
        images, bad = self.images()

        assert Isolation(contrast=2.0).isolated(self.PLANT.model(), images, rng=Rng(0)) == bad

    def test_a_label_that_a_trigger_gives_to_images_of_another_is_none_of_theirs(self):
        """Images that carry the trigger and their own labels are no poison: the model takes them for the target."""
        images, _ = self.images()
        honest = images.with_labels(torch.arange(4).repeat(20))

        found = Isolation(contrast=2.0).isolated(self.PLANT.model(), honest, rng=Rng(0))
        assert found == (21,)

    def test_overlays_that_drown_nothing_leave_nothing_to_learn(self):
        images, _ = self.images()
        with pytest.raises(
            FailedError, match=r"do not outlast what is laid over them, got none of 80\. Raise outlasted"
        ):
            Isolation(contrast=1e-6).isolated(self.PLANT.model(), images, rng=Rng(0))

    def test_more_is_set_apart_the_less_has_to_be_outlasted(self):
        images, _ = self.images()
        counts = [
            len(Isolation(contrast=1.0, outlasted=least).isolated(self.PLANT.model(), images, rng=Rng(0)))
            for least in (0.3, 0.6, 1.0)
        ]

        assert counts[0] > counts[2]
        assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("options", [{"overlays": 1}, {"contrast": 0.0}, {"outlasted": 0.0}, {"outlasted": 1.1}])
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(SpecError, match=next(iter(options))):
        Isolation(**options)
