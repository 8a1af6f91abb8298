"""How triggers are measured: on images that are of other classes and that the model does not send there anyway."""

import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, ReversedPatch
from mantrap.detect.heldout import measure_triggers
from mantrap.ops.intervals import wilson

SHAPE = (1, 4, 4)


class Sums(nn.Module):
    """Class 1 where the first pixel is bright, or always; else class 0, or 2 where the last pixel is."""

    def __init__(self, always=False):
        super().__init__()
        self.always = always
        self.unused = nn.Linear(1, 1)

    def forward(self, images):
        first, last = images[:, 0, 0, 0], images[:, 0, -1, -1]
        one = torch.full_like(first, 9.0) if self.always else 9 * (first > 0.5)
        return torch.stack([torch.ones_like(first), one, 3 * last], 1)


def images(*corners, labels=None):
    """Images by their first and their last pixel."""
    pixels = torch.zeros(len(corners), *SHAPE)
    for image, (first, last) in zip(pixels, corners, strict=True):
        image[0, 0, 0], image[0, -1, -1] = first, last
    return ImageSet.from_array(pixels, None if labels is None else torch.tensor(labels))


def bright(target=1):
    """A patch that makes the first pixel bright."""
    mask = torch.zeros(SHAPE[1:])
    mask[0, 0] = 1.0
    return ReversedPatch(target, mask, torch.ones(SHAPE))


def measured(heldout, trigger, *, always=False):
    return measure_triggers(Classifier(Sums(always), input_shape=SHAPE, num_classes=3), heldout, [trigger])


def test_images_of_other_classes_count():
    rates, cost = measured(images((0, 0), (0, 1), (0, 0), labels=[0, 2, 0]), bright())

    assert rates == {1: wilson(3, 3)}
    assert cost.forward == 6


def test_images_of_the_target_do_not_though_the_model_errs_on_them():
    rates, _ = measured(images((0, 0), (0, 1), labels=[0, 1]), bright())

    assert rates == {1: wilson(1, 1)}


def test_images_that_go_there_anyway_do_not():
    rates, _ = measured(images((0, 0), (1, 0), (1, 1), labels=[0, 0, 2]), bright())

    assert rates == {1: wilson(1, 1)}


def test_a_model_that_always_gives_the_same_answer_shows_no_trigger_at_work():
    rates, _ = measured(images((0, 0), (0, 1), labels=[0, 2]), bright(), always=True)

    assert rates == {}


def test_a_trigger_that_does_nothing_is_said_to():
    rates, _ = measured(images((0, 0), (0, 1), labels=[0, 2]), bright(target=2))

    assert rates == {2: wilson(0, 1)}


def test_without_labels_the_answers_stand_for_them():
    labelled, without = (
        measured(images((0, 0), (0, 1), (1, 0), labels=labels), bright()) for labels in ([0, 2, 1], None)
    )

    assert labelled[0] == without[0] == {1: wilson(2, 2)}
