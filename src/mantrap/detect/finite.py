"""A search that comes to no number has to stop."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mantrap.core import Classifier
from mantrap.core.shapes import Images, Labels
from mantrap.errors import FailedError

_AT_ONCE = 64
"""Images that are asked about at a time."""


def check_finite(loss: Tensor, labels: Sequence[int], step: int, *, what: str = "label") -> None:
    """Raise a FailedError that names labels, or what else was searched for, and step where a loss is not finite."""
    found = float(loss.detach())
    if not math.isfinite(found):
        raise FailedError(
            expected=f"finite logits while searching for {what if len(labels) == 1 else what + 's'} "
            + ", ".join(map(str, labels)),
            got=f"a loss of {found} at step {step}",
            remedy="Check the model's declared preprocessing and its weights.",
        )


@torch.no_grad()
def answers_of(model: Classifier, images: Images, *, what: str) -> Labels:
    """The class that a frozen model gives each image, [n], on the CPU.

    Args:
        model: The classifier.
        images: [n, c, h, w] on its device.
        what: What is searched for, for the message.

    Raises:
        FailedError: The model's output is not finite.
    """
    logits = torch.cat([model.logits(part) for part in images.split(_AT_ONCE)])
    check_finite(logits.abs().max(), range(1, model.num_classes), 0, what=what)
    return logits.argmax(1).cpu()
