"""What is held out and attacked while a model is hardened, and when it is said to stand one step only."""

import math
from functools import lru_cache

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Rng, Spec, build
from mantrap.errors import OutputError
from mantrap.evade.hardening import HARDENINGS, FgsmTraining, PgdTraining, batches, watch
from mantrap.evade.hardening.watch import Budgeted, Diary, hold_out, overfitted, told, under_attack
from mantrap.records import AttackedRecord
from mantrap.training import Recipe, fit
from tests.contracts.test_evasions import distances
from tests.planted import Planted
from tests.repairing import dense

PLANTED = Planted(shape=(1, 7, 9), classes=4)
LINF = Budgeted(eps=0.25)


def course(*rows):
    return [AttackedRecord(epoch=n, one_step=one, many_steps=many) for n, (one, many) in enumerate(rows)]


class TestHoldOut:
    def test_a_tenth_of_every_class_is_not_learned(self):
        images = PLANTED.images(50, "training")
        learned, heldout = hold_out(images, Rng(0))
        assert heldout is not None
        assert (len(learned), len(heldout)) == (180, 20)
        assert torch.bincount(heldout.labels).tolist() == [5, 5, 5, 5]
        assert not set(learned.content_hashes) & set(heldout.content_hashes)

    def test_256_are_enough(self):
        images = ImageSet.from_array(torch.rand(4000, 1, 1, 2), torch.arange(4000) % 4)
        assert len(hold_out(images, Rng(0))[1]) == 256

    def test_others_with_another_stream_and_none_of_nine(self):
        images = PLANTED.images(50, "training")
        drawn = [hold_out(images, Rng(seed))[1].digest() for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]
        few = images.subset(range(9))
        assert hold_out(few, Rng(0)) == (few, None)


class TestUnderAttack:
    """A planted model without a plant is linear: how far each image lies from the next class is known."""

    @pytest.mark.parametrize("size", [5, 256])
    def test_on_a_linear_model_the_share_within_the_budget_is_misled(self, size, monkeypatch):
        monkeypatch.setattr(watch, "fitting_batch", lambda _: size)
        far = distances(PLANTED, "linf").sort().values
        budget = Budgeted(eps=float(far[4:6].mean()))
        assert under_attack(PLANTED.model(), PLANTED.images(3, "evade"), budget, Rng(0)) == pytest.approx((7 / 12,) * 2)

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_a_small_budget_misleads_it_on_none_and_a_large_one_on_all(self, norm):
        images, model, far = PLANTED.images(3, "evade"), PLANTED.model(), distances(PLANTED, norm)
        small, large = (Budgeted(eps=eps, norm=norm) for eps in (0.99 * float(far.min()), 1.5 * float(far.max())))
        assert under_attack(model, images, small, Rng(0)) == (1.0, 1.0)
        assert under_attack(model, images, large, Rng(0)) == (0.0, 0.0)

    def test_one_step_is_told_from_many(self):
        """The logit of a wave falls from where the image is, and has risen again where all of the budget leads."""

        class Wave(nn.Module):
            def forward(self, x):
                right = torch.cos(20 * math.pi * (x.mean((1, 2, 3)) - 0.49))
                return torch.stack([right, torch.zeros_like(right)], 1)

        model = Classifier(Wave(), input_shape=(1, 2, 2), num_classes=2)
        grey = ImageSet.from_array(torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64))
        assert under_attack(model, grey, Budgeted(eps=0.1), Rng(0)) == (1.0, 0.0)

    def test_the_model_stays_in_training_mode_with_its_statistics(self):
        model = PLANTED.model()
        before = model.digest()
        under_attack(model, PLANTED.images(3, "evade"), LINF, Rng(0))
        assert model.module.training
        assert model.digest() == before


class TestDiary:
    def test_it_turns_before_the_first_batch_of_every_epoch(self):
        diary = Diary(epochs=3, batches=2)
        assert [diary.turns() for _ in range(6)] == [0, None, 1, None, 2, None]

    def test_what_it_was_told_outlasts_its_state(self):
        diary, other = Diary(epochs=3, batches=2), Diary(epochs=3, batches=2)
        diary.turns()
        diary.write(0, (0.5, 0.25))
        diary.write(1, (0.75, 0.5))
        other.load_state_dict(diary.state_dict())
        assert other.turns() is None
        assert other.records(2, (1.0, 0.75)) == tuple(course((0.5, 0.25), (0.75, 0.5), (1.0, 0.75)))


class TestOverfitted:
    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ([(0.0, 0.0), (0.5, 0.4), (0.6, 0.45), (0.95, 0.02)], (2, 3)),
            ([(0.0, 0.0), (0.5, 0.4), (0.95, 0.02), (0.97, 0.0)], (1, 2)),
            ([(0.0, 0.0), (0.9, 0.02), (0.95, 0.01)], None),  # it never stood many steps
            ([(0.0, 0.0), (0.5, 0.4), (0.4, 0.02)], None),  # one step misleads it as well: it has unlearned all
            ([(0.0, 0.0), (0.5, 0.4), (0.6, 0.25)], None),  # a fall beyond chance, and no collapse
            ([(0.0, 0.0), (0.5, 0.4), (0.6, 0.25), (0.95, 0.02)], (1, 3)),
            ([(0.1, 0.1), (0.9, 0.0)], None),  # as good as chance before it had learned anything
            ([(0.6, 0.5), (0.9, 0.0)], (0, 1)),  # it stood them before this training
            ([(0.0, 0.0)], None),
        ],
    )
    def test_it_is_a_fall_under_many_steps_beside_a_rise_under_one(self, rows, expected):
        assert overfitted(course(*rows), 256, 10) == expected

    def test_a_fall_that_few_images_explain_is_none(self):
        rows = course((0.0, 0.0), (0.5, 0.5), (0.9, 0.1))
        assert overfitted(rows, 10, 10) is None
        assert overfitted(rows, 100, 10) == (1, 2)

    def test_chance_is_that_of_the_number_of_classes(self):
        rows = course((0.0, 0.0), (0.5, 0.4), (0.9, 0.02))
        assert overfitted(rows, 256, 2) is None
        assert overfitted(rows, 256, 10) == (1, 2)


class TestTold:
    def test_what_attacks_came_to_in_the_end(self):
        (said,) = told(course((0.0, 0.0), (0.75, 0.5)), 256, 10, LINF)
        one, many = "it is right on 75.0 % after one step of linf 0.25", "and on 50.0 % after 20 steps."
        assert said == f"Of 256 images that were held out {one}, {many}"

    def test_where_it_collapsed(self):
        _, said = told(course((0.0, 0.0), (0.5, 0.4), (0.95, 0.02)), 256, 10, Budgeted(eps=2.0, norm="l2"))
        assert said == (
            "Catastrophic overfitting: from epoch 1 to 2 accuracy under 20 steps fell from 40.0 % to 2.0 %, "
            "while under one step it rose from 50.0 % to 95.0 %."
        )

    def test_where_it_never_stood_many_steps(self):
        _, said = told(course((0.0, 0.0), (0.9, 0.02)), 256, 10, LINF)
        assert said == "It stands one step, and not many: who takes several misleads it all the same."
        assert len(told(course((0.0, 0.0), (0.02, 0.01)), 256, 10, LINF)) == 1
        assert len(told(course((0.0, 0.0), (0.9, 0.2)), 256, 10, LINF)) == 1
        assert len(told(course((0.0, 0.0), (0.9, 0.2)), 256, 2, LINF)) == 2


IMAGES, UNSEEN, BUDGET = PLANTED.images(40, "training"), PLANTED.images(25, "unseen"), Budgeted(eps=0.16)
SHORT = "recipe(epochs=5, batch_size=32, optimizer='adam(lr=0.01)')"


@lru_cache
def plain():
    """Accuracy of a model after plain training under many steps."""
    start, recipe = dense(PLANTED.shape, PLANTED.classes), build(Recipe, Spec.parse(SHORT))
    return under_attack(fit(start, IMAGES, recipe=recipe, rng=Rng(0)).model, UNSEEN, BUDGET, Rng(1))[1]


class TestTraining:
    RECIPE = "recipe(epochs=4, batch_size=16, optimizer='adam(lr=0.01)')"

    def test_the_course_is_that_of_the_model_after_every_epoch(self):
        """A training of so many epochs ends where a longer one passes by."""
        model, short = dense(PLANTED.shape, PLANTED.classes), PgdTraining(eps=0.05, steps=2, step=0.6)
        whole = short.train(model, IMAGES, recipe=self.RECIPE, rng=Rng(0)).training
        part = short.train(model, IMAGES, recipe=self.RECIPE.replace("4", "2", 1), rng=Rng(0)).training

        assert len(whole.attacked) == 5
        assert [a.one_step for a in whole.attacked[:3]] == [a.one_step for a in part.attacked]
        assert whole.attacked[0].one_step < 0.6 < whole.attacked[-1].many_steps

    def test_a_collapse_is_told_in_the_notes(self, monkeypatch):
        rows = iter([(0.0, 0.0), (0.9, 0.8), (0.95, 0.9), (1.0, 0.1), (1.0, 0.0)])
        monkeypatch.setattr(batches, "under_attack", lambda *_: next(rows))
        images = PLANTED.images(200, "many")
        made = FgsmTraining(eps=0.1).train(
            dense(PLANTED.shape, PLANTED.classes), images, recipe=self.RECIPE, rng=Rng(0)
        )

        assert [a.many_steps for a in made.training.attacked] == [0.0, 0.8, 0.9, 0.1, 0.0]
        assert made.notes[1].startswith("Catastrophic overfitting: from epoch 2 to 3")

    def test_the_checkpoint_of_another_hardening_is_not_taken_up(self, tmp_path):
        start, place = dense(PLANTED.shape, PLANTED.classes), tmp_path / "checkpoint"
        FgsmTraining(eps=0.1).train(start, IMAGES, recipe=SHORT, rng=Rng(0), checkpoint=place)
        with pytest.raises(OutputError, match="belong to this training"):
            FgsmTraining(eps=0.2).train(start, IMAGES, recipe=SHORT, rng=Rng(0), checkpoint=place)

    @pytest.mark.parametrize(
        "spec",
        [
            "fgsm_training(eps=0.16)",
            "pgd_training(eps=0.16, steps=5, step=0.4)",
            "trades(eps=0.16, steps=5, step=0.4)",
            "fast(eps=0.16)",
            "pool(evasion='pgd(eps=0.16, steps=5, step=0.4)', size=50, renewed=0.25)",
        ],
    )
    def test_a_hardened_model_stands_many_steps_that_a_plain_one_does_not(self, spec):
        start = dense(PLANTED.shape, PLANTED.classes)
        made = HARDENINGS.create(spec).train(start, IMAGES, recipe=SHORT, rng=Rng(0))
        one, many = under_attack(made.model, UNSEEN, BUDGET, Rng(1))

        assert plain() < 0.75
        assert many > plain() + 0.1
        assert one > 0.9
        assert many > 0.95 or not spec.startswith("pgd")
