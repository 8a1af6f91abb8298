"""What a shift's patch does to images that the search has not seen, class by class."""

import dataclasses

import pytest

from mantrap.detect.heldout import measure_shift
from mantrap.ops.intervals import wilson
from tests.moving import Moving

PART = Moving(by=2, classes=6, reacting=(1, 5))
IMAGES = PART.images(4, "heldout")


def test_images_are_counted_by_their_class_and_as_moved_where_they_get_the_one_so_many_further_on():
    moved = measure_shift(PART.model(), IMAGES, PART.patch, IMAGES.labels)

    assert moved == {c: wilson(4 if c in (1, 5) else 0, 4) for c in range(6)}


@pytest.mark.parametrize("by", [1, 3, 4])
def test_one_that_sends_them_elsewhere_moves_none(by):
    patch = dataclasses.replace(PART.patch, target=by)

    assert {rate.hits for rate in measure_shift(PART.model(), IMAGES, patch, IMAGES.labels).values()} == {0}


def test_classes_may_have_any_number_of_images_and_those_without_any_are_left_out():
    some = IMAGES.subset([5, 11, 17, 1, 3])
    moved = measure_shift(PART.model(), some, PART.patch, some.labels)

    assert moved == {1: wilson(1, 1), 3: wilson(0, 1), 5: wilson(3, 3)}


def test_the_class_of_an_image_is_what_is_said_and_not_what_the_model_answers():
    # To the model these are of classes 0 to 5; called the next ones, classes 1 and 5 go one further on than that.
    sources = (IMAGES.labels + 1) % 6
    moved = measure_shift(PART.model(), IMAGES, dataclasses.replace(PART.patch, target=1), sources)

    assert {c for c, rate in moved.items() if rate.hits} == {2, 0}
