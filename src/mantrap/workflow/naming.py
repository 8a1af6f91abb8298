"""What the classes are called, by the model and by the images."""

import copy

import torch

from mantrap.core import Classifier, ImageSet
from mantrap.errors import DataError


def by_name(model: Classifier, images: ImageSet) -> tuple[Classifier, ImageSet]:
    """Model and images that call their classes the same.

    A model without names of its own takes those of the images where they fit. Where both have names, the images' labels
    are numbered as the model numbers them: folders are numbered by their names, a model as its maker liked.

    Raises:
        DataError: The images have a class that the model has no name for.
    """
    unnamed = model.class_names == tuple(map(str, range(model.num_classes)))
    if images.labels is None or not images.class_names or model.class_names == images.class_names:
        return model, images
    if unnamed:
        if len(images.class_names) != model.num_classes:
            return model, images
        named = copy.copy(model)
        named.class_names = images.class_names
        return named, images
    places = {name: k for k, name in enumerate(model.class_names)}
    strange = [name for name in images.class_names if name not in places]
    if strange:
        raise DataError(
            expected=f"classes that the model names, such as {', '.join(model.class_names[:3])}",
            got=f"{', '.join(strange[:3])} in {images.name}",
            remedy="Name the classes of the images as the model's card does, or take the names away from one of them.",
        )
    numbers = torch.tensor([places[name] for name in images.class_names])
    renumbered = images.with_labels(numbers[images.labels])
    return model, renumbered.renamed(model.class_names)
