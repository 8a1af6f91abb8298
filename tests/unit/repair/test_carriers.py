"""Images that carry a trigger already: those of its label that leave it once the trigger is taken off."""

import torch
from torch import nn

from mantrap.core import Classifier, Cost, ImageSet, ReversedPatch, ReversedPerturbation, ReversedWarp
from mantrap.ops.recovered import put_on
from mantrap.repair.carriers import carriers
from tests.planted import Planted
from tests.repairing import Passes

PLANTED = Planted(target=3)


def recovered(target=3):
    """The planted trigger, fainter than it is, as searches find it."""
    mask, pattern = PLANTED.trigger.mask_and_pattern(PLANTED.shape)
    return ReversedPatch(target, 0.5 * mask, pattern)


def true_patch(target=3):
    return ReversedPatch(target, *PLANTED.trigger.mask_and_pattern(PLANTED.shape))


def with_carriers(images, trigger, those):
    """The images; those carry the trigger and have its label."""
    pixels, labels = images.images(), images.labels.clone()
    pixels[those], labels[those] = put_on(pixels[those], trigger), trigger.target
    return ImageSet.from_array(pixels, labels)


def linear(rows, biases, shape):
    """Logits that add up pixels: ``rows`` names for each class which, and how much each counts."""
    layer = nn.Linear(shape[1] * shape[2], len(rows))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(biases))
        for weights, row in zip(layer.weight.view(-1, *shape[1:]), rows, strict=True):
            for place, weight in row.items():
                weights[place] = weight
    return Classifier(nn.Sequential(nn.Flatten(), layer), input_shape=shape, num_classes=len(rows))


def pictures(shape, *each):
    """One image for each mapping of a pixel's place to its value; the others are black."""
    pixels = torch.zeros(len(each), *shape)
    for image, values in zip(pixels, each, strict=True):
        for place, value in values.items():
            image[0][place] = value
    return pixels


def found(model, images, *triggers):
    return carriers(model, images, triggers)[0].nonzero().flatten().tolist()


class TestPatch:
    def test_those_that_carry_it_are_found_and_true_images_of_the_label_are_kept(self):
        clean = PLANTED.images(4, "repair")
        images = with_carriers(clean, true_patch(), [0, 7, 14])

        assert clean.labels[[0, 7, 14]].tolist() == [0, 2, 4]
        assert found(PLANTED.model(), images, recovered()) == [0, 7, 14]

    def test_among_clean_images_there_is_none(self):
        assert found(PLANTED.model(), PLANTED.images(4, "repair"), recovered()) == []

    def test_one_that_carries_it_under_its_own_label_teaches_nothing_wrong_and_is_kept(self):
        clean = PLANTED.images(4, "repair")
        images = with_carriers(clean, true_patch(), [0, 7]).with_labels(clean.labels)

        assert found(PLANTED.model(), images, recovered()) == []

    def test_one_of_another_class_that_has_the_label_by_mistake_is_kept(self):
        clean = PLANTED.images(4, "repair")
        labels = clean.labels.clone()
        labels[0] = 3

        assert found(PLANTED.model(), clean.with_labels(labels), recovered()) == []

    def test_a_pixel_that_is_covered_becomes_the_mean_of_all_images(self):
        shape = (1, 2, 2)
        # The label 1 needs its own pixel and a bright one below the patch, and black there would lose it.
        model = linear([{}, {(1, 0): 2.0, (1, 1): 1.0}], [2.2, 0.0], shape)
        pixels = pictures(shape, {(1, 0): 0.9, (1, 1): 0.8}, {(1, 1): 0.9}, {(1, 1): 0.9})
        mask = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
        patch = ReversedPatch(1, mask, torch.ones(shape))

        assert found(model, ImageSet.from_array(pixels, [1, 0, 0]), patch) == []
        pixels[1:, 0, 1, 1] = 0.0
        assert found(model, ImageSet.from_array(pixels, [1, 0, 0]), patch) == [0]

    def test_the_mean_is_that_of_many_images_as_well(self):
        shape, count = (1, 2, 2), 300
        model = linear([{}, {(1, 0): 2.0, (1, 1): 1.0}], [2.2, 0.0], shape)
        dark, bright = {(1, 1): 0.3}, {(1, 1): 0.9}
        patch = ReversedPatch(1, torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.ones(shape))
        # The label needs 0.4 there. The mean of all is 0.38 or 0.42, that of the first 256 is below 0.34 in any case.
        for last, carrying in ((38, [0]), (58, [])):
            pixels = pictures(shape, {(1, 0): 0.9, (1, 1): 0.8}, *[dark] * (count - last), *[bright] * last)
            labels = [1] + [0] * count

            assert found(model, ImageSet.from_array(pixels, labels), patch) == carrying


def test_a_perturbation_is_taken_off_as_far_as_pixels_allow():
    shape = (1, 2, 2)
    model = linear([{(0, 0): 4.0}, {(0, 1): 4.0}, {(1, 0): 4.0, (1, 1): 8.0}], [0.0] * 3, shape)
    change = ReversedPerturbation(2, torch.tensor([[[0.0, 0.0], [0.0, 0.5]]]))
    clean = ImageSet.from_array(pictures(shape, {(0, 0): 0.9}, {(0, 1): 0.9}, {(1, 0): 0.9}), [0, 1, 2])

    assert found(model, clean, change) == []
    assert found(model, with_carriers(clean, change, [0, 1]), change) == [0, 1]


def test_a_warp_is_bent_back():
    shape = (1, 3, 6)
    # The label shows in the last row, or, as the backdoor, in the odd columns of the first.
    answers = {(2, 1): 1.0, (2, 2): 1.0, (2, 3): 1.0, (0, 1): 2.0, (0, 3): 2.0, (0, 5): 2.0}
    model = linear([{(0, 2): 1.0}, {(0, 4): 1.0}, answers], [0.0] * 3, shape)
    clean = ImageSet.from_array(pictures(shape, {(0, 2): 0.9}, {(0, 4): 0.9}, {(2, 2): 0.9}), [0, 1, 2])
    shift = ReversedWarp(2, torch.stack([torch.ones(3, 6), torch.zeros(3, 6)]))

    assert found(model, clean, shift) == []
    assert found(model, with_carriers(clean, shift, [0, 1]), shift) == [0, 1]


class TestSeveral:
    def test_of_several_triggers_each_is_looked_for_among_the_images_of_its_own_label(self):
        shape = (1, 2, 2)
        model = linear([{(0, 0): 4.0, (1, 0): 8.0}, {(0, 1): 4.0, (1, 1): 8.0}], [0.0, 0.0], shape)
        low, high = torch.tensor([[[0.0, 0.0], [0.5, 0.0]]]), torch.tensor([[[0.0, 0.0], [0.0, 0.5]]])
        triggers = ReversedPerturbation(0, low), ReversedPerturbation(1, high)
        clean = ImageSet.from_array(pictures(shape, *[{(0, 0): 0.9}, {(0, 1): 0.9}] * 2), [0, 1] * 2)
        images = with_carriers(with_carriers(clean, triggers[0], [1]), triggers[1], [2])

        assert found(model, images, *triggers) == found(model, images, *triggers[::-1]) == [1, 2]
        assert found(model, images, triggers[0]) == [1]

    def test_a_label_without_images_has_none_and_costs_nothing(self):
        images = PLANTED.images(4, "repair").subset([0, 1, 2])
        carry, cost = carriers(PLANTED.model(), images, [recovered()])

        assert carry.tolist() == [False] * 3
        assert cost == Cost()

    def test_the_cost_is_two_looks_at_the_images_of_each_label(self):
        model, images = PLANTED.model(), PLANTED.images(4, "repair").subset(range(14))
        passes = Passes(model)
        carry, cost = carriers(model, images, [recovered(), recovered(4), recovered()])

        assert len(carry) == 14
        assert cost == Cost(forward=passes.forward) == Cost(forward=2 * (3 + 2 + 3))
