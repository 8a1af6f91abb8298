"""Write a poisoned training set, and the truth about it beside it."""

import io
from pathlib import Path

import numpy as np

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng
from mantrap.core.attack import DataAttack
from mantrap.core.truth import GroundTruth
from mantrap.errors import UsageError
from mantrap.poison import Poison
from mantrap.records.files import write_atomically
from mantrap.workflow.truths import save_truth

_SUFFIX = ".npz"


def poison(
    images: ImageSet,
    out: Path,
    *,
    plan: Poison | DataAttack,
    model: Classifier | None = None,
    rng: Rng,
    progress: Progress = SILENT,
) -> GroundTruth:
    """Poison a training set and write it as ``NAME.npz``; the truth goes into ``NAME.truth.json``.

    The .npz holds ``x_train`` [n, h, w, c] as uint8, ``y_train`` and ``class_names``, and opens everywhere.

    Raises:
        UsageError: The name does not end in ``.npz``, or the plan does not fit the images.
        DataError: The images have no labels.
        OutputError: The place cannot be written.
    """
    if out.suffix != _SUFFIX:
        raise UsageError(expected=f"a file name that ends in {_SUFFIX}", got=str(out), remedy="Rename the output.")
    poisoned = plan.apply(images, model=model, rng=rng, progress=progress)
    pixels = (poisoned.data.images() * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert poisoned.data.labels is not None
    buffer = io.BytesIO()
    names = {"class_names": np.array(images.class_names)} if images.class_names else {}
    np.savez_compressed(buffer, allow_pickle=False, x_train=pixels, y_train=poisoned.data.labels.numpy(), **names)
    truth = save_truth(out, poisoned.truth, poisoned.tensors)
    write_atomically(out, buffer.getvalue())
    return truth
