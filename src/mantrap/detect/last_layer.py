"""Whose weights in the last layer stand out: what poisoned training leaves there, read off without any search."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import FORGETFUL, SILENT, Classifier, Cost, Detection, ImageSet, Memo, Progress, Rng, spec_of
from mantrap.detect.blind_spots import CHANGING, EVERY_LABEL, NOT_ALL_TO_ONE, SPREAD, WARPING
from mantrap.detect.by_norm import targets_of
from mantrap.errors import FailedError
from mantrap.ops.features import last_linear
from mantrap.records.traits import ROW_MEAN, ROW_NORM

_TWO = 2


@dataclass(frozen=True, kw_only=True)
class LastLayer:
    """Compare the labels' weights in the last layer: their mean, and how long each row is.

    It costs nothing. Poisoning makes the target's class the largest of the training set, and retraining the last layers
    for a trigger makes its row longer. So does honest training on unequal classes: on its own it accuses nobody.

    Reference: the weights of the last layer as in Fu et al., FreeEagle: detecting complex neural Trojans in data-free
    cases, USENIX Security 2023, who look at the whole of the later layers. Deviations: two numbers for each label.
    """

    name: ClassVar[str] = "last_layer"
    needs_images: ClassVar[bool] = False
    quick: ClassVar[str] = "last_layer()"

    def detect(
        self,
        model: Classifier,
        clean: ImageSet,
        *,
        heldout: ImageSet,
        labels: Sequence[int] | None = None,
        rng: Rng,
        progress: Progress = SILENT,
        memo: Memo = FORGETFUL,
    ) -> Detection:
        """Read the last layer.

        Args:
            model: The classifier in question.
            clean: Not looked at.
            heldout: Not looked at.
            labels: Which labels to compare; all where ``None``.
            rng: Not drawn from.
            progress: Observer of the work.
            memo: Not used: there is nothing to lose.

        Returns:
            The traits ``row_mean`` and ``row_norm`` of each label; nothing but a note where the network does not end
            in a linear layer with one output for each label.

        Raises:
            UsageError: A label that the model does not have.
            FailedError: A weight is not finite.
        """
        del clean, heldout, rng, memo
        targets = targets_of(model, labels)
        traits: dict[str, dict[int, float]] = {}
        with model.frozen(), progress.stage("read the last layer", 1) as stage:
            layer = last_linear(model)
            if layer is not None:
                traits = _compared(layer.weight.detach().double().cpu(), targets)
            stage.advance(1)
        none = "This network does not end in a linear layer with an output for each label, so there is nothing to read."
        return Detection(
            detector=str(spec_of(self)),
            num_classes=model.num_classes,
            cost=Cost(forward=1),
            notes=() if traits else (none,),
            blind_spots=(*NOT_ALL_TO_ONE, SPREAD, WARPING, CHANGING, EVERY_LABEL),
            traits=traits,
        )


def _compared(rows: Float[Tensor, "k d"], targets: Sequence[int]) -> dict[str, dict[int, float]]:
    """Mean and length of what sets the rows of these labels apart from the mean row; one of zeros has neither."""
    if not bool(rows.isfinite().all()):
        raise FailedError(
            expected="finite weights in the last layer",
            got="some that are not",
            remedy="Check the file that the model was read from.",
        )
    rows = rows - rows.mean(0)  # what all labels share changes no answer
    norms = torch.linalg.vector_norm(rows, dim=1)
    means = rows.mean(1) * math.sqrt(rows.shape[1]) / norms
    some = [t for t in targets if float(norms[t]) > 0]
    traits = {ROW_MEAN.name: {t: float(means[t]) for t in some}}
    if len(rows) > _TWO:  # of two labels what sets one apart from the mean is as long as what sets the other apart
        traits[ROW_NORM.name] = {t: float(norms[t]) for t in some}
    return traits
