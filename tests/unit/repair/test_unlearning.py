"""Unlearning on a network whose backdoors are known: they go, whatever else it can stays, and fine-tuning does less."""

import dataclasses
import math

import pytest
import torch

from mantrap.core import Cost, ImageSet, ReversedPatch, ReversedPerturbation, ReversedWarp, Rng
from mantrap.errors import FailedError, SpecError, UsageError
from mantrap.repair import FineTuning, Unlearning, carriers, unlearning
from mantrap.repair.unlearning import PartlyStamped
from tests.contracts.test_detectors import Watch
from tests.contracts.test_detectors_and_models import snapshot
from tests.repairing import (
    LOWER,
    PLANTED,
    UPPER,
    Passes,
    backdoored,
    corner,
    dense,
    equal,
    poisoned,
    right,
    success,
)

USUAL = Unlearning(updates=200, optimizer="adam(lr=0.001)", share=0.5, strength=2.0)
SHORT = Unlearning(updates=6, batch_size=8)


def clean(each=20):
    return PLANTED.images(each, "repair")


def repaired(repair, *triggers, images=None, model=None):
    return repair.repair(model or backdoored(), images or clean(), triggers=triggers, rng=Rng(1))


class TestBackdoors:
    def test_before_a_repair_they_work_and_the_model_is_right(self):
        assert [success(backdoored(), trigger) for trigger in (LOWER, UPPER)] == [1.0, 1.0]
        assert right(backdoored()) == 1.0

    @pytest.mark.parametrize("strength", [1.0, 0.5], ids=["true", "half"])
    def test_the_patch_or_a_weaker_one_takes_its_backdoor_out_and_the_control_does_not(self, strength):
        found, control = (repaired(one, corner(2, strength=strength)).model for one in (USUAL, USUAL.control))

        assert success(found, LOWER) < 0.02
        assert success(control, LOWER) > 0.95
        assert right(found) > 0.99
        assert right(control) > 0.99

    def test_of_several_triggers_for_several_labels_all_are_taken_out(self):
        found = repaired(USUAL, LOWER, UPPER).model

        assert max(success(found, trigger) for trigger in (LOWER, UPPER)) < 0.02
        assert right(found) > 0.99

    @pytest.mark.parametrize(("given", "other"), [(LOWER, UPPER), (UPPER, LOWER)], ids=["lower", "upper"])
    def test_a_backdoor_whose_trigger_was_not_given_is_left(self, given, other):
        found = repaired(USUAL, given).model

        assert success(found, given) < 0.02
        assert success(found, other) > 0.9

    def test_a_recovered_trigger_that_is_much_too_weak_does_it_once_it_is_made_stronger(self):
        weak = corner(2, strength=0.05)
        as_it_is, stronger = (repaired(dataclasses.replace(USUAL, strength=s), weak).model for s in (1.0, 16.0))

        assert success(as_it_is, LOWER) > 0.2
        assert success(stronger, LOWER) < 0.02

    def test_without_options_triggers_of_half_their_strength_are_enough_and_images_that_carry_them_do_no_harm(self):
        weak = [corner(2, strength=0.5), corner(1, upper=True, strength=0.5)]
        found = repaired(Unlearning(), *weak, images=poisoned(clean(), [LOWER, UPPER], every=5)).model

        assert max(success(found, trigger) for trigger in (LOWER, UPPER)) < 0.02
        assert right(found) > 0.99


class TestControl:
    def test_it_has_the_settings_of_the_training_and_no_other(self):
        settings = {"epochs": 3, "updates": 7, "batch_size": 9, "optimizer": "sgd(lr=0.5)", "schedule": "constant"}
        settings |= {"augment": "affine(degrees=3.0)"}
        repair = Unlearning(**settings, share=0.1, strength=3.0, screen=False)

        assert repair.control == FineTuning(**settings)


class TestModel:
    def test_what_came_in_stays_bitwise_as_it_is_and_the_other_is_in_eval_mode(self):
        model = dense(PLANTED.shape, PLANTED.classes)
        model.module[1].bias.requires_grad_(False)
        before = snapshot(model)
        found = repaired(SHORT, LOWER, model=model)

        assert snapshot(model) == before
        assert not any(part.training for part in found.model.module.modules())

    def test_it_is_repaired_as_well_where_no_gradients_are_wanted(self):
        with torch.no_grad():
            quiet = repaired(SHORT, LOWER).model
            with backdoored().frozen():
                frozen = repaired(SHORT, LOWER).model

        assert equal(quiet, repaired(SHORT, LOWER).model)
        assert equal(frozen, quiet)

    def test_weights_that_are_no_numbers_after_the_last_update_are_an_error(self):
        wild = Unlearning(updates=1, batch_size=80, optimizer="sgd(lr=1e38)", schedule="constant")

        with pytest.raises(FailedError, match=r"finite logits, got others, after training"):
            repaired(wild, LOWER)


class TestTriggers:
    def test_of_more_than_there_are_stamped_images_each_has_its_turn(self):
        model, images = dense(PLANTED.shape, PLANTED.classes), clean()
        triggers = tuple(ReversedPatch(0, torch.ones(8, 8), torch.full((1, 8, 8), n / 10)) for n in range(1, 6))
        objective = PartlyStamped(triggers=triggers, share=0.25)
        given, some = [], range(4)
        hook = model.module.register_forward_pre_hook(lambda _, inputs: given.append(0.25 * inputs[0] + 0.5))
        for number in range(60):
            objective.loss(model, images.images(some), images.labels[:4], companions={}, rng=Rng(number))
        hook.remove()
        flat = [one for batch in given for one in batch if float(one.std()) < 1e-5]

        assert len(flat) == 60
        assert {round(float(one.mean()), 2) for one in flat} == {0.1, 0.2, 0.3, 0.4, 0.5}

    @pytest.mark.parametrize(
        ("trigger", "said"),
        [
            (ReversedPatch(1, torch.ones(4, 4), torch.ones(1, 4, 4)), "images of 1x8x8, got one of 4x4, 1x4x4"),
            (ReversedPerturbation(1, torch.zeros(3, 8, 8)), "triggers for images of 1x8x8, got one of 3x8x8"),
            (ReversedWarp(1, torch.zeros(2, 9, 8)), "triggers for images of 1x8x8, got one of 2x9x8"),
            (ReversedPatch(9, torch.ones(8, 8), torch.ones(1, 8, 8)), "the labels 0 to 3, got one for label 9"),
        ],
        ids=["size", "channels", "flow", "label"],
    )
    def test_one_that_does_not_fit_is_refused(self, trigger, said):
        with pytest.raises(UsageError, match=said):
            repaired(SHORT, trigger)


class TestScreen:
    def test_images_that_carry_the_trigger_are_left_out_with_a_note(self):
        dirty = poisoned(clean(), [LOWER], every=3)
        found = repaired(USUAL, LOWER, images=dirty)

        # Every third carries it, 27 in all; the 7 that have their own label teach nothing wrong.
        assert found.images == 60
        assert found.notes == ("Of 80 images 20 seem to carry a trigger already, and were left out.",)
        assert success(found.model, LOWER) < 0.02
        assert right(found.model) > 0.99

    def test_where_they_are_not_looked_for_they_keep_the_backdoor_alive(self):
        dirty = poisoned(clean(), [LOWER], every=3)
        found = repaired(dataclasses.replace(USUAL, screen=False), LOWER, images=dirty)

        assert (found.images, found.notes) == (80, ())
        assert success(found.model, LOWER) > 0.2

    def test_where_there_are_none_all_images_serve_and_there_is_no_note(self):
        found = repaired(SHORT, LOWER)

        assert (found.images, found.notes) == (80, ())

    def test_just_those_that_were_found_are_left_out_and_their_search_is_paid_for(self, monkeypatch):
        images, asked = PLANTED.images(300, "repair"), []
        carry = torch.arange(1200) >= 150

        def looked(*given):
            asked.append(given)
            return carry, Cost(forward=10_000)

        monkeypatch.setattr(carriers, "carriers", looked)
        once = Unlearning(updates=0)
        found = repaired(once, LOWER, UPPER, images=images)

        assert [(model, triggers) for model, _, triggers in asked] == [(backdoored(), (LOWER, UPPER))]
        assert found.images == 150
        assert found.notes == ("Of 1,200 images 1,050 seem to carry a trigger already, and were left out.",)
        assert found.cost == Cost(forward=10_182, backward=150)
        assert equal(
            found.model,
            repaired(Unlearning(updates=0, screen=False), LOWER, UPPER, images=images.subset(range(150))).model,
        )

    def test_where_there_are_no_labels_they_are_looked_for_by_the_models_own_answers(self):
        dirty = poisoned(clean(), [LOWER], every=3)
        named, unnamed = (repaired(SHORT, LOWER, images=images) for images in (dirty, dirty.unlabelled()))

        assert unnamed.notes == named.notes != ()
        assert unnamed.images == named.images


class TestCost:
    @pytest.mark.parametrize("labelled", [True, False])
    @pytest.mark.parametrize("screen", [True, False])
    def test_it_is_what_goes_through_the_model(self, labelled, screen):
        model, images = dense(PLANTED.shape, PLANTED.classes), clean(4)
        model.module.load_state_dict(backdoored().module.state_dict())
        passes = Passes(model)
        repair = Unlearning(updates=60, batch_size=8, screen=screen)
        found = repaired(repair, LOWER, images=images if labelled else images.unlabelled(), model=model)

        assert found.cost == Cost(forward=passes.forward, backward=passes.backward)

    def test_progress_is_that_of_the_training(self):
        watch = Watch()
        SHORT.repair(backdoored(), clean(4), triggers=[LOWER], rng=Rng(0), progress=watch)

        assert watch.done == pytest.approx({"train": 3})


class TestOptions:
    @pytest.mark.parametrize(
        ("field", "value", "refused"),
        [
            ("share", 0.0, r"share in \(0, 1\], got 0.0"),
            ("share", 1.1, r"share in \(0, 1\], got 1.1"),
            ("strength", 0.0, "strength above 0, and finite, got 0.0"),
            ("strength", math.inf, "strength above 0, and finite, got inf"),
            ("batch_size", 1, "batch_size of at least 2, got 1"),
        ],
    )
    def test_what_cannot_be_is_refused_at_once(self, field, value, refused):
        with pytest.raises(SpecError, match=refused):
            Unlearning(**{field: value})

    def test_the_ends_of_what_can_be_are_taken(self):
        assert Unlearning(share=1.0) != Unlearning()

    def test_a_training_that_diverges_is_an_error(self):
        wild = Unlearning(updates=20, optimizer="sgd(lr=1e30)", schedule="constant")
        with pytest.raises(FailedError, match="finite"):
            repaired(wild, LOWER)


class TestBatches:
    """What the network is shown: every image is grey by its number, and the trigger makes one pixel brighter."""

    CHANGE = torch.zeros(1, 2, 2).index_fill(2, torch.tensor([1]), 0.1) * torch.tensor([[0.0], [1.0]])

    def shown(self, monkeypatch, repair, count=20):
        """Of every batch the numbers of its images, by how much stronger than grey the pixel is, and the labels."""
        grey = 0.3 + torch.arange(count) / 100
        labels = torch.arange(count) % 4
        pixels = grey.view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
        model, batches, real = dense((1, 2, 2), 4), [], unlearning.entropy
        passes = Passes(model)

        def noted(logits, of):
            batches.append(of)
            return real(logits, of)

        monkeypatch.setattr(unlearning, "entropy", noted)
        images = ImageSet.from_array(pixels.clone(), labels)
        repaired(repair, ReversedPerturbation(1, self.CHANGE), images=images, model=model)
        seen = [0.25 * batch + 0.5 for batch in passes.learned]
        numbers = [((batch[:, 0, 0, 0] - 0.3) * 100).round().long() for batch in seen]
        extra = [batch[:, 0, 1, 1] - batch[:, 0, 0, 0] for batch in seen]
        assert [label.tolist() for label in batches] == [labels[number].tolist() for number in numbers]
        return numbers, extra

    def test_so_many_of_each_carry_the_trigger_as_strong_as_it_is_made(self, monkeypatch):
        repair = Unlearning(updates=50, batch_size=10, share=0.3, strength=3.0, screen=False)
        _, extra = self.shown(monkeypatch, repair)

        assert len(extra) == 50
        for one in extra:
            assert one.sort().values.tolist() == pytest.approx([0.0] * 7 + [0.3] * 3, abs=1e-5)

    def test_those_are_drawn_anew_in_every_update_out_of_all_classes_the_target_too(self, monkeypatch):
        repair = Unlearning(updates=60, batch_size=10, share=0.5, strength=2.0, screen=False)
        numbers, extra = self.shown(monkeypatch, repair)
        number, carries = torch.cat(numbers), torch.cat(extra) > 0.1

        assert set(number[carries].tolist()) == set(number[~carries].tolist()) == set(range(20))

    def test_without_options_half_of_a_batch_carries_it_twice_as_strong(self, monkeypatch):
        _, extra = self.shown(monkeypatch, Unlearning(updates=2, batch_size=20))

        assert torch.cat(extra).sort().values.tolist() == pytest.approx([0.0] * 20 + [0.2] * 20, abs=1e-5)

    def test_with_a_share_of_one_all_carry_it(self, monkeypatch):
        _, extra = self.shown(monkeypatch, Unlearning(updates=2, batch_size=32, share=1.0, strength=2.0, screen=False))

        assert torch.cat(extra).tolist() == pytest.approx([0.2] * 40, abs=1e-5)


class TestKeeping:
    def test_where_only_answers_count_labels_do_not(self):
        clean = PLANTED.images(20, "repair")
        wrong = clean.with_labels((clean.labels + 1) % PLANTED.classes)
        spec = Unlearning(updates=5, keep=1.0, screen=False)
        one, other = (spec.repair(backdoored(), some, triggers=(LOWER,), rng=Rng(0)).model for some in (clean, wrong))

        assert equal(one, other)

    def test_it_costs_one_more_look_at_every_image(self):
        clean = PLANTED.images(20, "repair")
        plain, keeping = (
            Unlearning(updates=5, keep=keep).repair(backdoored(), clean, triggers=(LOWER,), rng=Rng(0)).cost
            for keep in (0.0, 0.5)
        )

        assert keeping.backward == plain.backward
        assert keeping.forward == plain.forward + plain.backward

    @pytest.mark.parametrize("keep", [-0.1, 1.1])
    def test_a_weight_out_of_range_is_refused(self, keep):
        with pytest.raises(SpecError, match="keep"):
            Unlearning(keep=keep)
