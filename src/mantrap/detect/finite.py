"""A search that comes to no number has to stop."""

import math
from collections.abc import Sequence

from torch import Tensor

from mantrap.errors import FailedError


def check_finite(loss: Tensor, labels: Sequence[int], step: int) -> None:
    """Raise a FailedError that names labels and step where a loss is not finite."""
    found = float(loss.detach())
    if not math.isfinite(found):
        raise FailedError(
            expected=f"finite logits while searching for {'label' if len(labels) == 1 else 'labels'} "
            + ", ".join(map(str, labels)),
            got=f"a loss of {found} at step {step}",
            remedy="Check the model's declared preprocessing and its weights.",
        )
