"""The whole story in a few minutes: a clean and a backdoored model on synthetic signs, and an audit of both."""

from dataclasses import dataclass
from pathlib import Path

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng
from mantrap.data import load
from mantrap.detect import DEFAULT_DETECTORS
from mantrap.detect import DETECTORS as KNOWN
from mantrap.models import Preprocessing, open_model
from mantrap.models import device as find_device
from mantrap.poison import BadNets
from mantrap.records import AuditRecord, Rate
from mantrap.records.files import sha256_of
from mantrap.training import Recipe, evaluate
from mantrap.workflow.audit import audit
from mantrap.workflow.implant import Implanting, implant
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.train import new_classifier, train

SIGNS = "signs(classes=10, size=40, train=5000, test=2000)"
TARGET = 7
ATTACK = BadNets(target=TARGET)
RECIPE = Recipe(epochs=10, batch_size=64)
DETECTORS = tuple(KNOWN.create(name) for name in DEFAULT_DETECTORS)
"""Who looks. Signs and epochs were chosen so that three seeds of three find the trigger: no rate follows."""

_FILE = "model.safetensors"


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
    images, test = load(SIGNS, split="train"), load(SIGNS, split="test")
    work = _Work(images, test, seed, device, progress)
    folder = out / f"seed-{seed}"
    clean, backdoored = folder / "clean", folder / "backdoored"
    work.train(clean)
    success = work.implant(backdoored)
    return work.show("clean", clean, None), work.show("backdoored", backdoored, success)


@dataclass(frozen=True)
class _Work:
    """What both models have in common."""

    images: ImageSet
    test: ImageSet
    seed: int
    device: str
    progress: Progress

    def fresh(self) -> Classifier:
        """The network before its training."""
        model = new_classifier("mnist_cnn", self.images, declared=Preprocessing(), rng=Rng(self.seed))
        model.module.to(find_device(self.device))
        return model

    def train(self, folder: Path) -> None:
        rng = Rng(self.seed)
        train(self.fresh(), self.images, folder / _FILE, test=self.test, recipe=RECIPE, rng=rng, progress=self.progress)

    def implant(self, folder: Path) -> Rate:
        """Plant the backdoor; returns its success."""
        what = Implanting(
            attack=ATTACK,
            model=self.fresh(),
            images=self.images,
            recipe=RECIPE,
            rng=Rng(self.seed),
            test=self.test,
        )
        (backdoor,) = implant(what, folder / _FILE, progress=self.progress).backdoors
        return backdoor.success

    def show(self, title: str, folder: Path, success: Rate | None) -> Shown:
        path = folder / _FILE
        model = open_model(path, images_shape=self.test.shape, device=self.device)
        record = audit(
            model,
            self.test,
            plan=Plan(detectors=DETECTORS, seed=self.seed, command=f"mantrap demo --seed {self.seed}"),
            source=Source(path.name, sha256_of(path), str(path)),
            out=folder / "audit",
            progress=self.progress,
        )
        return Shown(
            title=title,
            accuracy=evaluate(model, self.test),
            success=success,
            target=None if success is None else TARGET,
            record=record,
            folder=folder,
        )
