"""How good a model is on labelled images."""

from mantrap.core import Classifier, ImageSet
from mantrap.ops.scores import accuracy
from mantrap.records import Rate


def evaluate(model: Classifier, images: ImageSet) -> Rate:
    """Share of images that get their own label, with its Wilson interval; the model is unchanged.

    Raises:
        DataError: The images have no labels.
    """
    return accuracy(model, images)
