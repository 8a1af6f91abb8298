"""Whether a model can learn from a set of images at all."""

from mantrap.core import Classifier, ImageSet
from mantrap.data import check_labels
from mantrap.errors import DataError


def check_fits(model: Classifier, images: ImageSet) -> None:
    """Refuse images that a model cannot be trained on.

    Raises:
        DataError: No labels, labels outside the model's classes, or images of another shape than the model takes.
    """
    if images.shape != model.input_shape:
        raise DataError(
            expected=f"images of shape {model.input_shape}, as the model takes them",
            got=f"{images.shape} in {images.name}",
            remedy="Resize the images, change their channels, or take a model that fits them.",
        )
    if images.labels is None:
        raise DataError(expected=f"labels for {images.name}", got="none", remedy="Train on labelled images.")
    check_labels(images, model.num_classes)
