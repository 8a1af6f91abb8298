"""What repairs leave of a backdoor: the cells of docs/parity.md on repairs.

Table VII of Neural Cleanse (Wang et al., 2019): the models of the detection suite, unlearned with the reversed trigger,
with the original one, which only a benchmark can hand in, and trained on with clean images alone, as much as the
others. Its section VI.B: the same, pruned. Beside the paper's tenth of the training data stand 500 and 200 images in
all, for the search and for the repair, and images of which a part carry the trigger and its label, since users often
cannot tell.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import parity_attacks
import torch
from parity_detection import RUNS, trained
from parity_detection import cells as detection_cells
from parity_repairs_table import ARMS, Arm, RepairCell

from mantrap.core import SILENT, Classifier, ImageSet, ReversedPatch, ReversedTrigger, Rng, Spec, spec_of
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.detect import NeuralCleanse
from mantrap.measure import attack_success
from mantrap.models import open_model
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import fitting_batch
from mantrap.poison import Patch
from mantrap.repair import REPAIRS
from mantrap.training import evaluate
from mantrap.workflow.parting import parted
from mantrap.workflow.sharpening import sharpened

SEEDS = 3
TASKS = {"mnist": "mnist-badnets", "gtsrb": "gtsrb-badnets-paper"}
FACES = "lfw"
"""Of whom the models are those of the suite on attacks; a tenth of the images are two of each person."""
MODELS = {**TASKS, FACES: "lfw-badnets"}
PAPER = "unlearning(updates=0, optimizer='adam', schedule='constant', share=0.2, strength=1.0, screen=False)"
"""As the paper has it: one epoch, a fifth of the images with the trigger as it is."""
TURNED = "unlearning(augment='affine')"
"""With images that are turned, shifted and scaled a little."""
_OURS = "unlearning"
PRUNING = {"mnist": "pruning(layer='fc1')", "gtsrb": "pruning(layer='classifier.0')"}
"""Of the layer that reads what the last convolution says."""
_MOST_LABELS = 100
"""Beyond these only the target is searched for: a repair begins where an audit has found it."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model to repair.

    Args:
        data: The task.
        seed: Of the model, and of what is drawn.
        images: How many there are to search and to repair with; 0 for a tenth of the training set.
        poisoned: Part of them that carry the trigger and its label.
        repair: Spec of the repair.
    """

    data: str
    seed: int
    images: int = 0
    poisoned: float = 0.0
    repair: str = _OURS

    @property
    def name(self) -> str:
        """What it is called."""
        some = f"{self.images}" if self.images else "tenth"
        poison = f"-{100 * self.poisoned:g}-poisoned" if self.poisoned else ""
        how = {PAPER: "-as-in-the-paper", TURNED: "-turned"}.get(self.repair, "")
        return f"{Spec.parse(self.repair).name}-{self.data}-{some}{poison}{how}-s{self.seed}"


def cells() -> list[Cell]:
    """All cells."""
    return [cell for data in MODELS for seed in range(SEEDS) for cell in _of(data, seed)]


def _of(data: str, seed: int) -> list[Cell]:
    """The cells of one model."""
    plain = Cell(data=data, seed=seed)
    if data == FACES:
        return [plain, replace(plain, images=1000)]
    few = [replace(plain, images=count) for count in (500, 200)]
    ours = [plain, replace(plain, repair=PAPER), *few, *(replace(few[0], poisoned=p) for p in (0.01, 0.05))]
    return [
        *ours,
        *(replace(cell, repair=TURNED) for cell in (plain, *few)),
        *(replace(cell, repair=PRUNING[data]) for cell in (plain, *few)),
        *(replace(cell, repair="auto") for cell in few),
    ]


def run(cell: Cell) -> RepairCell:
    """Search for the trigger, repair in three ways, measure each."""
    path, truth_file, original = _attacked(cell)
    test = _images(cell, "test")
    model = open_model(path, images_shape=test.shape)
    truth = GroundTruth.from_json(truth_file.read_text())
    target = original.target
    scan, heldout = parted(images_of(cell, original), Rng(cell.seed))
    rng = Rng(cell.seed)
    found = recovered(model, scan, heldout, target, rng=rng)
    repair = REPAIRS.create(cell.repair)
    arms, cut, seconds = {}, {}, 0.0
    for arm, trigger in zip(ARMS, (found, original, None), strict=True):
        if arm == ARMS[0] and trigger is None:
            continue  # the search kept no trigger for the target: there is nothing to unlearn
        who = repair if trigger is not None else repair.control
        begun = time.process_time()
        given = () if trigger is None else (trigger,)
        made = who.repair(model, scan, triggers=given, rng=Rng(cell.seed))
        seconds = max(seconds, time.process_time() - begun)
        arms[arm] = _measured(made.model, test, truth)
        if made.curve:
            cut[arm] = made.curve[-1].neurons / made.curve[-1].of
    return RepairCell(
        name=cell.name,
        repair=str(spec_of(repair)),
        images=len(scan),
        before=_measured(model, test, truth),
        arms=arms,
        cut=cut,
        cpu_seconds=seconds,
    )


def _attacked(cell: Cell) -> tuple[Path, Path, ReversedPatch]:
    """The file of the cell's model, made if it is not there yet, the truth about it, and its trigger."""
    named = f"{MODELS[cell.data]}-s{cell.seed}"
    patch = Patch(size=10) if cell.data == FACES else Patch()
    if cell.data == FACES:
        path = parity_attacks.RUNS / f"{named}.safetensors"
        if not path.with_suffix(".implant.json").exists():
            parity_attacks.run(next(c for c in parity_attacks.cells() if c.name == named))
        truth = path.with_suffix(".truth.json")
    else:
        path = trained(next(c for c in detection_cells() if c.name == named), RUNS / named)
        truth = RUNS / named / "truth.json"
    target = GroundTruth.from_json(truth.read_text()).backdoors[0].target
    assert target is not None
    return path, truth, ReversedPatch(target, *patch.mask_and_pattern(_images(cell, "test").shape))


def _images(cell: Cell, split: str) -> ImageSet:
    return parity_attacks.FACES.load(split) if cell.data == FACES else load(cell.data, split=split)


def recovered(model: Classifier, scan: ImageSet, heldout: ImageSet, target: int, *, rng: Rng) -> ReversedTrigger | None:
    """The patch for the target that a search keeps, searched for once more; ``None`` where it keeps none."""
    labels = None if model.num_classes <= _MOST_LABELS else (target,)
    first = NeuralCleanse().detect(model, scan, heldout=heldout, labels=labels, rng=rng).trigger_for(target)
    again, _ = sharpened(model, scan, heldout, () if first is None else (first,), rng=rng, progress=SILENT)
    return again[0] if again else None


def images_of(cell: Cell, original: ReversedPatch) -> ImageSet:
    """Training images to search and to repair with, a part of which carry the original trigger and its label."""
    data = _images(cell, "train")
    count = cell.images or len(data) // 10
    drawn = torch.randperm(len(data), generator=Rng(cell.seed).child("repair images").torch())[:count]
    images = data.subset(drawn.tolist())
    assert images.labels is not None
    bad = round(cell.poisoned * count)
    if not bad:
        return images
    pixels = torch.cat([batch.images for batch in images.batches(fitting_batch(images))])
    labels = images.labels.clone()
    pixels[:bad], labels[:bad] = put_on(pixels[:bad], original), original.target
    return ImageSet.from_array(pixels, labels, name=images.name)


def _measured(model: Classifier, test: ImageSet, truth: GroundTruth) -> Arm:
    return Arm(accuracy=evaluate(model, test), success=attack_success(model, test, truth))
