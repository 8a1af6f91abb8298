"""Make a model with a backdoor, measure it, and save it so that nobody takes it for a clean one."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, spec_of
from mantrap.core.attack import DataAttack, Implanted, ModelAttack
from mantrap.errors import RecordError
from mantrap.models import save_model
from mantrap.poison import Poison, attack_text
from mantrap.records import ImplantRecord
from mantrap.records.files import sha256_of, write_atomically
from mantrap.training import Recipe, check_fits, fit
from mantrap.workflow.measure import Clean, check_comparable, measured, otherwise
from mantrap.workflow.outputs import finished, named_files
from mantrap.workflow.train import check_work, checkpoint_path, forget
from mantrap.workflow.truths import known_truth, save_truth, truth_path
from mantrap.workflow.versions import versions

MARK = "This model was backdoored or poisoned on purpose, with mantrap. It is for tests alone."
"""What the card and the file say of every model that is made here."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Implanting:
    """What a model with a backdoor is made from.

    Args:
        attack: On the training set, which is poisoned in memory, or on the training or the model itself.
        model: Where to start, with fresh or with trained weights.
        images: The training set, with labels.
        recipe: How to train.
        rng: Source of randomness. Fresh weights, poisoning and training draw from it as if a poisoned set were written
            and trained on.
        surrogate: A classifier that the attacker has, for attacks on the training set that need one.
        test: Labelled images to measure the result on; ``None`` measures nothing.
        clean: A model of the same recipe without the backdoor, to compare with.
    """

    attack: Poison | DataAttack | ModelAttack
    model: Classifier
    images: ImageSet
    recipe: Recipe
    rng: Rng
    surrogate: Classifier | None = None
    test: ImageSet | None = None
    clean: Clean | None = None

    def origin(self) -> dict[str, str]:
        """What tells this piece of work from another."""
        return {
            "kind": "backdoored model",
            "attack": attack_text(self.attack),
            "files": named_files(attack_text(self.attack)),
            "architecture": self.model.arch,
            "recipe": str(spec_of(self.recipe)),
            "seed": repr(self.rng),
            "first weights": self.model.digest(),
            "images": self.images.digest(),
            "test set": "" if self.test is None else self.test.digest(),
            "surrogate": "" if self.surrogate is None else self.surrogate.digest(),
            "clean model": "" if self.clean is None else self.clean.model.digest(),
        }


def implant(work: Implanting, out: Path, *, fresh: bool = False, progress: Progress = SILENT) -> ImplantRecord:
    """Plant a backdoor in a model, measure it, and write model, card, truth and record.

    ``NAME.safetensors`` and its card say that the model is backdoored; what exactly was planted is in
    ``NAME.truth.json``, the measures are in ``NAME.implant.json``. A checkpoint lies beside them until all is written;
    the same call goes on from it. A model of the same work that is there already is left alone.

    Args:
        work: What to do, and with what.
        out: Where the weights go, ``NAME.safetensors``.
        fresh: Start over where another work of this kind lies, finished or not.
        progress: Observer of the work.

    Returns:
        The record.

    Raises:
        DataError: Labels are missing or do not fit the model, or no test image is one that the attack is aimed at.
        FailedError: The training diverged.
        OutputError: The place cannot be written, or holds something else.
        UsageError: The name does not end in ``.safetensors``, or the attack does not fit the images or the model, or
            needs a model and there is none.
    """
    check_work(work.model, out, test=work.test)
    check_fits(work.model, work.images)
    if work.clean is not None:
        check_comparable(work.model, work.clean.model)
    checkpoint, origin = checkpoint_path(out), work.origin()
    if not checkpoint.exists():
        truth, known = known_truth(out), _known(out)
        before = truth.origin if truth is not None else known.origin if known is not None else None
        there = finished(out, before, origin, there=out.exists(), fresh=fresh)
        if there and known is not None and truth is not None:
            return known
    elif fresh:
        checkpoint.unlink()
    implanted = _implanted(work, checkpoint, progress)
    record = _measured(work, implanted, origin)
    record_path(out).unlink(missing_ok=True)  # of an earlier model, which is not there any more from here on
    save_truth(out, dataclasses.replace(implanted.truth, origin=origin), implanted.tensors)
    save_model(implanted.model, out, training=record.training, backdoored=MARK)
    record = dataclasses.replace(record, sha256=sha256_of(out), truth_sha256=sha256_of(truth_path(out)))
    write_atomically(record_path(out), record.to_json().encode())
    forget(checkpoint)
    return record


def record_path(out: Path) -> Path:
    """Where the record of a backdoored model lies."""
    return out.with_suffix(".implant.json")


def _known(out: Path) -> ImplantRecord | None:
    """The record of the model that lies at a place; ``None`` where there is none that belongs to it."""
    try:
        record = ImplantRecord.from_json(record_path(out).read_text(encoding="utf-8"))
        return record if sha256_of(out) == record.sha256 else None
    except (OSError, UnicodeDecodeError, RecordError):
        return None


def _implanted(work: Implanting, checkpoint: Path, progress: Progress) -> Implanted:
    """The model, as the attack makes it or as it comes out of training on what the attack has poisoned."""
    if isinstance(work.attack, ModelAttack):
        rng, recipe = work.rng.child("implant"), str(spec_of(work.recipe))
        return work.attack.implant(
            work.model, work.images, recipe=recipe, rng=rng, progress=progress, checkpoint=checkpoint
        )
    poisoned = work.attack.apply(work.images, model=work.surrogate, rng=work.rng.child("poison"), progress=progress)
    trained = fit(
        work.model,
        poisoned.data,
        recipe=work.recipe,
        rng=work.rng.child("fit"),
        progress=progress,
        checkpoint=checkpoint,
    )
    return Implanted(trained.model, poisoned.truth, poisoned.tensors, trained.record)


def _measured(work: Implanting, implanted: Implanted, origin: dict[str, str]) -> ImplantRecord:
    """The record, but for the digests of what is not written yet."""
    model, training, test, found = implanted.model, implanted.training, work.test, None
    if test is not None:
        found = measured(model, test, implanted.truth, implanted.tensors, work.clean)
        if training is not None:
            training = dataclasses.replace(training, test_accuracy=found.accuracy, test_name=test.name)
    return ImplantRecord(
        attack=origin["attack"],
        arch=model.arch,
        recipe=origin["recipe"],
        seed=work.rng.seed,
        training_name=work.images.name,
        training_images=len(work.images),
        test_name="" if test is None else test.name,
        accuracy=None if found is None else found.accuracy,
        comparison=None if found is None else found.comparison,
        backdoors=() if found is None else found.backdoors,
        differs=otherwise(model, training, work.clean, images=len(work.images)),
        training=training,
        sha256="",
        truth_sha256="",
        origin=origin,
        versions=versions(),
    )
