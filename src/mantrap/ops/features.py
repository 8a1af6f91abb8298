"""What a classifier has made of an image before its last decision."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mantrap.core import Classifier, ImageSet
from mantrap.core.shapes import Images
from mantrap.errors import FailedError, UsageError
from mantrap.ops.readings import on_reading
from mantrap.ops.scores import fitting_batch


def features_of(model: Classifier, images: Images, layer: str = "") -> Tensor:
    """The features of each image as one row, [n, d], with the gradient to the images where this is asked for.

    Args:
        model: The classifier, best frozen.
        images: [n, c, h, w] in [0, 1].
        layer: Name of a layer, whose output it is; where empty, what goes into the last linear layer that is called.

    Raises:
        UsageError: There is no such layer, or no linear layer.
    """
    if layer:
        return model.features(images, layer).flatten(1)
    calls = _linear_calls(model, images)
    if not calls:
        raise UsageError(
            expected=f"a linear layer in {model.arch}, before which its features are taken",
            got="none",
            remedy="Name the layer whose output the features are.",
        )
    return calls[-1][1].flatten(1)


def features_over(model: Classifier, images: ImageSet, layer: str = "") -> Float[Tensor, "n d"]:
    """The features of every image of a set, [n, d], on the CPU, in single precision. The model is frozen meanwhile.

    Args:
        model: The classifier.
        images: The images.
        layer: As for :func:`features_of`.

    Raises:
        UsageError: There is no such layer, or no linear layer.
        FailedError: The features are not finite.
    """
    with model.frozen(), torch.no_grad():
        batches = images.batches(fitting_batch(images))
        found = torch.cat([features_of(model, b.images.to(model.device), layer).float().cpu() for b in batches])
    if not bool(found.isfinite().all()):
        raise FailedError(
            expected="finite features",
            got="infinite ones, or some that are no numbers",
            remedy="Check the model's declared preprocessing and its weights.",
        )
    return found


def last_linear(model: Classifier) -> nn.Linear | None:
    """The linear layer that gives each label its score: the last one that is called, if it has an output for each.

    ``None`` where a network ends in something else, such as a convolution. Costs a pass of one blank image.
    """
    with torch.no_grad():
        calls = _linear_calls(model, torch.zeros(1, *model.input_shape, device=model.device))
    return calls[-1][0] if calls and calls[-1][0].out_features == model.num_classes else None


def _linear_calls(model: Classifier, images: Images) -> list[tuple[nn.Linear, Tensor]]:
    """Every linear layer that a pass of these images calls, in this order, and what it is given."""
    caught: list[tuple[nn.Linear, Tensor]] = []

    def catch(layer: nn.Linear, values: Tensor) -> None:
        caught.append((layer, values))

    handles = [on_reading(m, partial(catch, m)) for m in model.module.modules() if isinstance(m, nn.Linear)]
    try:
        model.logits(images)
    finally:
        for handle in handles:
            handle.remove()
    return caught
