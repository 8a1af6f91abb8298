"""A search that comes to no number has to stop."""

import math
from collections.abc import Sequence

from torch import Tensor

from mantrap.errors import FailedError


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
