"""Model and images may number the same classes differently: their names decide."""

import pytest
import torch

from mantrap.errors import DataError
from mantrap.ops.scores import accuracy
from mantrap.workflow.naming import by_name
from tests import stage

NAMES = ("zebra", "wolf", "tiger", "lynx", "goat", "ant")


def named():
    model = stage.model(planted=False)
    model.class_names = NAMES
    return model


def test_images_whose_classes_are_in_another_order_are_renumbered_by_name():
    images = stage.image_set(60)
    order = sorted(NAMES)
    labels = torch.tensor([order.index(NAMES[int(k)]) for k in images.labels])
    model, found = by_name(named(), images.with_labels(labels).renamed(order))

    assert found.labels.tolist() == images.labels.tolist()
    assert found.class_names == NAMES
    assert accuracy(model, found).hits == 60


def test_a_model_without_names_takes_those_of_the_images_where_they_fit():
    images = stage.image_set(12).renamed(NAMES)
    model, found = by_name(stage.model(planted=False), images)

    assert model.class_names == NAMES
    assert found is images


@pytest.mark.parametrize("names", [(), NAMES[:2], NAMES])
def test_nothing_is_renumbered_where_names_agree_or_are_missing(names):
    images = stage.image_set(12, labelled=len(names) != 2).renamed(names)
    model = named()

    assert by_name(model, images) == (model, images)


def test_images_of_a_class_that_the_model_does_not_name_are_refused():
    with pytest.raises(DataError, match="bee"):
        by_name(named(), stage.image_set(12).renamed((*NAMES[:5], "bee")))
