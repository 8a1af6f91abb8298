"""The classifier that an attacker has, where an attack needs one."""

from mantrap.core import Classifier
from mantrap.errors import UsageError


def surrogate(model: Classifier | None, shape: tuple[int, ...], *, labels: int, wanted_by: str) -> Classifier:
    """The attacker's model, if there is one and it fits.

    Args:
        model: A classifier, or ``None``.
        shape: Channels, height and width of the images.
        labels: How many labels the attack speaks of.
        wanted_by: What needs the model, for the message.

    Raises:
        UsageError: There is none, or it is for other images or has too few classes.
    """
    if model is None:
        raise UsageError(
            expected=f"a model for {wanted_by}, which perturbs images by its gradients",
            got="none",
            remedy="Give a classifier that was trained on images of this kind, such as one of your own.",
        )
    if tuple(shape) != model.input_shape or labels > model.num_classes:
        raise UsageError(
            expected=f"a model for images of shape {tuple(shape)} and {labels} classes, for {wanted_by}",
            got=f"one for shape {model.input_shape} and {model.num_classes} classes",
            remedy="Give a model that was trained on such images.",
        )
    return model
