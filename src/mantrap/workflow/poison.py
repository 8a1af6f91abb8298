"""Write a poisoned training set, and the truth about it beside it."""

import dataclasses
from pathlib import Path

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng
from mantrap.core.attack import DataAttack, ModelAttack
from mantrap.core.truth import GroundTruth
from mantrap.data.saving import in_bytes, saving, take_away, writer_for
from mantrap.errors import UsageError
from mantrap.poison import Poison, attack_text
from mantrap.workflow.outputs import finished, named_files
from mantrap.workflow.truths import known_truth, save_truth


def poison(
    images: ImageSet,
    out: Path,
    *,
    plan: Poison | DataAttack | ModelAttack,
    model: Classifier | None = None,
    rng: Rng,
    fresh: bool = False,
    progress: Progress = SILENT,
) -> GroundTruth:
    """Poison a training set and write it; the truth goes into ``NAME.truth.json`` beside it, never into it.

    The set is written as :func:`mantrap.data.save` does, with pixels of 8 bits, and read back as it was written. A set
    of the same plan, images, model and seed that is there already is left alone.

    Args:
        images: The training set, with labels.
        out: ``NAME.npz``, ``NAME.parquet``, or a name without a suffix for a folder.
        plan: The attack.
        model: A classifier that the attacker has, for attacks that need one.
        rng: Source of randomness.
        fresh: Start over where a set of another plan lies.
        progress: Observer of the work.

    Returns:
        The truth.

    Raises:
        UsageError: The name has another suffix, the attack does not fit the images, needs a model and there is none, or
            is none on training data.
        DataError: The images have no labels.
        OutputError: The place cannot be written, or holds something else.
    """
    if not isinstance(plan, Poison | DataAttack):
        raise UsageError(
            expected="an attack that poisons a training set",
            got=f"{attack_text(plan)}, which changes or trains a model",
            remedy="Use mantrap implant.",
        )
    writer_for(images, out)  # said now, not after the work
    images = in_bytes(images)
    origin = _origin(plan, images, model, rng)
    known = known_truth(out)
    before = None if known is None else known.origin
    if finished(out, before, origin, there=out.exists(), fresh=fresh) and known is not None:
        return known
    poisoned = plan.apply(images, model=model, rng=rng, progress=progress)
    with saving(poisoned.data, out, progress=progress):
        if out.exists():
            take_away(out)
        # Before the set has its name, so that a kill in between leaves a truth without a set and not the reverse.
        return save_truth(out, dataclasses.replace(poisoned.truth, origin=origin), poisoned.tensors)


def _origin(plan: Poison | DataAttack, images: ImageSet, model: Classifier | None, rng: Rng) -> dict[str, str]:
    """What tells one poisoned set from another."""
    return {
        "kind": "poisoned set",
        "attack": attack_text(plan),
        "files": named_files(attack_text(plan)),
        "images": images.digest(),
        "model": "" if model is None else model.digest(),
        "seed": repr(rng),
    }
