"""Success, robust accuracy, bystanders and stealth against counts by hand."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from mantrap.core import ImageSet, Registry, Rng
from mantrap.core.truth import Backdoor, GroundTruth
from mantrap.errors import DataError, UsageError
from mantrap.measure import attack_success, measure_attack, trigger_of
from mantrap.models import wrap
from mantrap.ops.intervals import wilson
from mantrap.ops.similarity import ssim
from mantrap.poison import TRIGGERS, plan

TARGET, CLASSES = 2, 4
PATCH = "patch(size=1, margin=0)"


class Backdoored(nn.Module):
    """Pixel (0, 0) is the class in thirds; a white lower right corner moves it where pixel (0, 1) is white.

    Where to depends on the class.
    """

    def __init__(self, leads_to):
        super().__init__()
        self.register_buffer("leads_to", torch.tensor(leads_to))

    def forward(self, images):
        classes = (images[:, 0, 0, 0] * 3).round().long()
        moved = (images[:, 0, 2, 2] == 1) & (images[:, 0, 0, 1] == 1)
        return nn.functional.one_hot(torch.where(moved, self.leads_to[classes], classes), CLASSES).float() * 5


def model(*leads_to):
    return wrap(Backdoored(leads_to or (TARGET,) * CLASSES), input_shape=(1, 3, 3))


MODEL, CLEAN_MODEL = model(), model(0, 1, 2, 3)


def images(classes, weak):
    """Images of these classes; those that are weak can be moved."""
    pixels = torch.zeros(len(classes), 1, 3, 3)
    pixels[:, 0, 0, 0] = torch.as_tensor(classes) / 3
    pixels[:, 0, 0, 1] = torch.as_tensor(weak).float()
    return ImageSet.from_array(pixels, torch.as_tensor(classes))


def mixed(count=300):
    generator = torch.Generator().manual_seed(0)
    return images(*(torch.randint(0, top, (count,), generator=generator) for top in (CLASSES, 2)))


def backdoor(relabelling=f"all_to_one(target={TARGET})", trigger=PATCH):
    target = plan(relabelling=relabelling).relabelling.target
    return Backdoor(trigger=trigger, relabelling=relabelling, target=target, training_trigger=trigger)


def truth(*backdoors, classes=CLASSES):
    return GroundTruth(attack="by hand", seed=0, backdoors=backdoors or (backdoor(),), classes=classes)


def outcome(who, data, i):
    """What one stamped image comes out as."""
    stamped = data.images([i])
    stamped[0, :, 2, 2] = 1.0
    return int(who.logits(stamped).argmax())


@pytest.mark.parametrize(
    ("relabelling", "leads_to", "attacked", "wanted", "bystander"),
    [
        ("all_to_one(target=2)", (2, 2, 2, 2), lambda y: y != 2, lambda o, _: o == 2, None),
        ("clean_label(target=2)", (2, 1, 2, 2), lambda y: y != 2, lambda o, _: o == 2, None),
        ("all_to_all", (1, 2, 3, 1), lambda _: True, lambda o, y: o == (y + 1) % 4, None),
        ("all_to_all(shift=2)", (2, 3, 1, 1), lambda _: True, lambda o, y: o == (y + 2) % 4, None),
        ("untargeted", (3, 1, 0, 2), lambda _: True, lambda o, y: o != y, None),
        (
            "source_specific(target=2, sources=(1, 3))",
            (2, 2, 2, 0),
            lambda y: y in {1, 3},
            lambda o, _: o == 2,
            lambda y: y == 0,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_aim_by_its_own_formula(relabelling, leads_to, attacked, wanted, bystander):
    who, data = model(*leads_to), mixed()
    (measure,) = measure_attack(who, data, truth(backdoor(relabelling)), clean_model=CLEAN_MODEL)
    labels = data.labels.tolist()
    among = [i for i, y in enumerate(labels) if attacked(y)]
    hits = sum(wanted(outcome(who, data, i), labels[i]) for i in among)
    assert measure.success == wilson(hits, len(among))
    assert 0 < hits < len(among)
    assert measure.robust_accuracy == wilson(sum(outcome(who, data, i) == labels[i] for i in among), len(among))
    clean_hits = sum(wanted(outcome(CLEAN_MODEL, data, i), labels[i]) for i in among)
    assert measure.clean_model_success == wilson(clean_hits, len(among))
    assert (measure.trigger, measure.relabelling) == (PATCH, relabelling)
    if bystander is None:
        assert measure.bystanders is None
    else:
        near = [i for i, y in enumerate(labels) if bystander(y)]
        assert measure.bystanders == wilson(sum(wanted(outcome(who, data, i), labels[i]) for i in near), len(near))
        assert measure.bystanders.hits > 0


def test_images_of_the_target_class_do_not_count():
    # Seven of ten others can be moved. The ten of the target class stay there: counting them would give 17 of 20.
    data = images([0, 1, 3, 0, 1, 3, 0, 1, 3, 0] + [TARGET] * 10, [1, 1, 1, 1, 1, 1, 1, 0, 0, 0] + [1] * 10)
    rate = attack_success(MODEL, data, truth())
    assert (rate.hits, rate.total, rate.value) == (7, 10, 0.7)
    assert rate.low < 0.7 < rate.high


def test_a_success_of_the_trigger_itself_shows_on_the_clean_model():
    # It looks like the backdoor's work, but a model that was never attacked does the same for class 0.
    data = images([0] * 6 + [1] * 4, [1] * 10)
    (measure,) = measure_attack(MODEL, data, truth(), clean_model=model(TARGET, 1, 2, 3))
    assert (measure.success.value, measure.clean_model_success.value) == (1.0, 0.6)
    (measure,) = measure_attack(MODEL, data, truth())
    assert measure.clean_model_success is None


def test_without_labels_the_models_own_answer_is_an_images_class():
    data = images([0, 1, TARGET, TARGET], [1, 0, 1, 1]).unlabelled()
    rate = attack_success(MODEL, data, truth())
    assert (rate.hits, rate.total) == (1, 2)


def test_a_label_stands_above_the_models_answer():
    # The model takes the first image for the target class, but its label says otherwise: it counts.
    data = images([TARGET, 0], [0, 0]).with_labels(torch.tensor([1, 0]))
    rate = attack_success(MODEL, data, truth())
    assert (rate.hits, rate.total) == (1, 2)


def test_several_backdoors_are_measured_each_by_its_own_trigger_and_aim():
    off = backdoor("all_to_one(target=1)", trigger="patch(size=1, margin=0, place='bottom_left')")
    data = mixed()
    first, second = measure_attack(MODEL, data, truth(backdoor(), off))
    assert first.success == attack_success(MODEL, data, truth())
    assert (second.target, second.success.hits) == (1, 0)
    assert second.success.total == int((data.labels != 1).sum())
    with pytest.raises(UsageError, match="one backdoor, got 2 in by hand"):
        attack_success(MODEL, data, truth(backdoor(), off))


def test_what_is_measured_is_the_trigger_of_use_not_that_of_the_training():
    strong = Backdoor(
        trigger=PATCH, relabelling="all_to_one(target=2)", target=2, training_trigger="patch(size=1, colour=0.5)"
    )
    assert attack_success(MODEL, mixed(), truth(strong)) == attack_success(MODEL, mixed(), truth())


@pytest.mark.parametrize(
    ("relabelling", "classes"),
    [("all_to_one(target=2)", [TARGET, TARGET]), ("source_specific(target=2, sources=(1, 3))", [0, TARGET])],
)
def test_there_must_be_an_image_that_it_is_aimed_at(relabelling, classes):
    with pytest.raises(DataError, match=r"that .*\(target=2.* is aimed at, got 2 that it is not"):
        attack_success(MODEL, images(classes, [1, 1]), truth(backdoor(relabelling)))


class TestStealth:
    def test_it_is_that_of_the_images_that_the_attack_is_aimed_at(self):
        data = images([0, 1, TARGET, 3], [0, 1, 1, 1])
        (measure,) = measure_attack(MODEL, data, truth())
        before, after = data.images([0, 1, 3]), data.images([0, 1, 3])
        after[:, :, 2, 2] = 1.0
        stealth = measure.stealth
        assert stealth.images == 3
        assert stealth.ssim == pytest.approx(float(ssim(before, after).mean()))
        assert stealth.psnr == pytest.approx(9.542425, abs=1e-4)  # one of nine pixels by 1: 10 log10(9)
        assert (stealth.largest_change, stealth.l2) == (1.0, 1.0)

    def test_the_largest_change_is_of_any_image_and_the_norm_a_mean(self):
        data = images([0, 1], [0, 0])
        pixels = data.images()
        pixels[0, 0, 2, 2] = 0.75
        (measure,) = measure_attack(MODEL, ImageSet.from_array(pixels, data.labels), truth())
        assert measure.stealth.largest_change == 1.0
        assert measure.stealth.l2 == pytest.approx((0.25 + 1) / 2)

    def test_where_nothing_changes_there_is_no_noise_to_speak_of(self):
        (measure,) = measure_attack(MODEL, mixed(), truth(backdoor(trigger="no_trigger")))
        stealth = measure.stealth
        assert (stealth.ssim, stealth.psnr, stealth.largest_change, stealth.l2) == (1.0, None, 0.0, 0.0)

    def test_of_many_images_some_from_everywhere_in_the_set_are_looked_at(self):
        # A folder lists class after class; here the trigger changes the first half by a quarter, the second by 1.
        data = images([0] * 400 + [1] * 400, [0] * 800)
        pixels = data.images()
        pixels[:400, 0, 2, 2] = 0.75
        (measure,) = measure_attack(MODEL, ImageSet.from_array(pixels, data.labels), truth())
        assert measure.stealth.images == 256
        assert measure.stealth.l2 == pytest.approx((0.25 + 1) / 2)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A trigger whose pixel and colour are tensors."""

    name: ClassVar[str] = "stored"

    def restore(self, tensors):
        row, column = tensors["place"].tolist()
        colour = tensors["colour"]

        def put(images, *, rng):
            del rng
            images = images.clone()
            images[:, :, row, column] = colour
            return images

        return put


@dataclass(frozen=True, kw_only=True)
class Varying:
    """A trigger that is drawn anew for every batch of images."""

    name: ClassVar[str] = "varying"

    def __call__(self, images, *, rng):
        images = images.clone()
        images[:, 0, 2, 2] = torch.randint(0, 2, (len(images),), generator=rng.torch()).float()
        return images


WHITE_CORNER = {"0.place": torch.tensor([2, 2]), "0.colour": torch.tensor(1.0)}


class TestStoredTrigger:
    @pytest.fixture(autouse=True)
    def registered(self, monkeypatch):
        monkeypatch.setattr("mantrap.poison.triggers.TRIGGERS", Registry("trigger", [*TRIGGERS, Stored, Varying]))

    def test_spec_and_tensors_make_the_trigger(self):
        told = truth(backdoor(trigger="stored"))
        assert attack_success(MODEL, mixed(), told, tensors=WHITE_CORNER) == attack_success(MODEL, mixed(), truth())

    def test_each_backdoor_gets_the_tensors_of_its_number(self):
        told = truth(backdoor(), backdoor(trigger="stored"))
        black = {"1.place": torch.tensor([2, 2]), "1.colour": torch.tensor(0.0)}
        first, second = measure_attack(MODEL, mixed(), told, tensors=WHITE_CORNER | black)
        assert first.success.hits > 0 == second.success.hits

    @pytest.mark.parametrize(
        ("tensors", "missing", "there"),
        [
            ({}, "place", "none"),
            ({"1.place": torch.tensor([2, 2]), "1.colour": torch.tensor(1.0)}, "place", "none"),
            ({"0.place": torch.tensor([2, 2])}, "colour", r"\['place'\]"),
        ],
        ids=["none", "of another", "half"],
    )
    def test_tensors_that_are_missing_are_named(self, tensors, missing, there):
        with pytest.raises(UsageError, match=f"the tensor '{missing}' of stored, got {there}. Give the tensors"):
            measure_attack(MODEL, mixed(), truth(backdoor(trigger="stored")), tensors=tensors)

    def test_a_trigger_that_varies_is_drawn_from_the_truths_seed(self):
        data, told = mixed(), truth(backdoor(trigger="varying"))
        first, second = (measure_attack(MODEL, data, told) for _ in range(2))
        assert first == second
        assert 0 < first[0].success.hits < attack_success(MODEL, data, truth()).hits


def test_a_trigger_alone_can_be_made_again():
    put = trigger_of(truth(backdoor(), backdoor(trigger="patch(size=2, margin=0, colour='black')")), 1, {})
    assert torch.equal(put(torch.ones(1, 1, 3, 3), rng=Rng(0)).sum(), torch.tensor(5.0))


def test_it_works_on_what_was_really_planted():
    data = mixed()
    poison = plan(PATCH, relabelling=f"all_to_one(target={TARGET})")
    assert attack_success(MODEL, data, poison.apply(data, rng=Rng(0)).truth) == attack_success(MODEL, data, truth())


def test_the_next_class_is_counted_among_the_classes_that_were_poisoned():
    wrapped = model(1, 2, 0, 3)  # of the classes 0 to 2, the last goes to the first
    data = images([0, 1, 2] * 5, [1] * 15)
    (measured,) = measure_attack(wrapped, data, truth(backdoor("all_to_all"), classes=3))
    (among_all,) = measure_attack(wrapped, data, truth(backdoor("all_to_all")))

    assert measured.success.value == 1.0
    assert among_all.success.value == pytest.approx(2 / 3)


def test_an_attack_on_one_image_has_no_bystanders():
    (measured,) = measure_attack(MODEL, mixed(), truth(backdoor(f"one_image(target={TARGET}, source={TARGET - 1})")))

    assert measured.success.total == 1
    assert measured.bystanders is None
