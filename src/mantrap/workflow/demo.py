"""The whole story in a few minutes: a clean and a backdoored model on synthetic signs, and an audit of both."""

from dataclasses import dataclass
from pathlib import Path

from mantrap.core import SILENT, ImageSet, Progress, Rng
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.detect import NeuralCleanse
from mantrap.measure import attack_success
from mantrap.models import Preprocessing, open_model
from mantrap.models import device as find_device
from mantrap.poison import AllToOne, Patch, Poison, RandomShare
from mantrap.records import AuditRecord, Rate
from mantrap.records.files import sha256_of, write_atomically
from mantrap.training import Recipe, evaluate
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.train import new_classifier, train

SIGNS = "signs(classes=10, size=40, train=5000, test=2000)"
TARGET = 7
RECIPE = Recipe(epochs=10, batch_size=64)
SHORTENED = NeuralCleanse(steps=150, images_per_step=96, batch_size=16, patience=3, early_stop_patience=20)
"""The paper's search with a tenth of the images a step: good for a demonstration, not for a verdict to rely on.

Schedule, size of the signs and epochs were chosen so that three seeds of three find the trigger: no rate follows.
"""


@dataclass(frozen=True)
class Shown:
    """One model of the demonstration.

    Args:
        title: What it is.
        accuracy: On clean test images.
        success: Of the planted trigger; ``None`` for the clean model.
        target: Of the planted backdoor.
        record: The audit.
        folder: Where model, record and report are.
    """

    title: str
    accuracy: Rate
    success: Rate | None
    target: int | None
    record: AuditRecord
    folder: Path


def demo(out: Path, *, seed: int = 0, device: str = "cpu", progress: Progress = SILENT) -> tuple[Shown, Shown]:
    """Train, plant, audit; what is finished for this seed is not done again.

    Args:
        out: Folder for both models and their audits.
        seed: Of all randomness.
        device: As for :func:`mantrap.models.device`.
        progress: Observer of the work.

    Returns:
        The clean model and the backdoored one.

    Raises:
        OutputError: The folder cannot be written or holds other work.
    """
    clean, test = load(SIGNS, split="train"), load(SIGNS, split="test")
    plan = Poison(trigger=Patch(), selection=RandomShare(rate=0.1), relabelling=AllToOne(target=TARGET))
    poisoned = plan.apply(clean, rng=Rng(seed).child("poison"))
    work = _Work(test, seed, device, progress)
    return (
        work.show("clean", clean, None, out / f"seed-{seed}" / "clean"),
        work.show("backdoored", poisoned.data, poisoned.truth, out / f"seed-{seed}" / "backdoored"),
    )


@dataclass(frozen=True)
class _Work:
    """What both models have in common."""

    test: ImageSet
    seed: int
    device: str
    progress: Progress

    def show(self, title: str, images: ImageSet, truth: GroundTruth | None, folder: Path) -> Shown:
        path, rng = folder / "model.safetensors", Rng(self.seed)
        if not path.with_suffix(".card.json").exists():
            fresh = new_classifier("mnist_cnn", images, declared=Preprocessing(), rng=rng)
            fresh.module.to(find_device(self.device))
            train(fresh, images, path, test=self.test, recipe=RECIPE, rng=rng, progress=self.progress)
        if truth is not None:
            write_atomically(folder / "truth.json", truth.to_json().encode())
        model = open_model(path, images_shape=self.test.shape, device=self.device)
        record = audit(
            model,
            self.test,
            plan=Plan(detectors=(SHORTENED,), seed=self.seed, command=f"mantrap demo --seed {self.seed}"),
            source=Source(path.name, sha256_of(path), str(path)),
            out=folder / "audit",
            progress=self.progress,
        )
        return Shown(
            title=title,
            accuracy=evaluate(model, self.test),
            success=None if truth is None else attack_success(model, self.test, truth),
            target=None if truth is None else TARGET,
            record=record,
            folder=folder,
        )
