"""What a classifier has made of an image before its last decision."""

from typing import Any

from torch import Tensor, nn

from mantrap.core import Classifier
from mantrap.core.shapes import Images
from mantrap.errors import UsageError


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
    caught: list[Tensor] = []

    def catch(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        caught.append(inputs[0])

    handles = [m.register_forward_pre_hook(catch) for m in model.module.modules() if isinstance(m, nn.Linear)]
    try:
        model.logits(images)
    finally:
        for handle in handles:
            handle.remove()
    if not caught:
        raise UsageError(
            expected=f"a linear layer in {model.arch}, before which its features are taken",
            got="none",
            remedy="Name the layer whose output the features are.",
        )
    return caught[-1].flatten(1)
