"""How a hardening goes: after every epoch images that are not learned are attacked, in one step and in many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from mantrap.core import Classifier, ImageSet, Problem, Rng, require
from mantrap.core.shapes import Images, Labels
from mantrap.data.splits import sample
from mantrap.evade.fgsm import fgsm
from mantrap.ops.intervals import wilson
from mantrap.ops.pgd import Ascent, away, pgd
from mantrap.ops.projections import Norm, require_ball
from mantrap.ops.scores import finite_logits, fitting_batch
from mantrap.records import AttackedRecord, Rate

_MOST, _SHARE = 256, 0.1
"""Images that are held out at most, and their share of a small set."""
NORMS: Final = ("linf", "l2")
"""What a budget may be measured by."""
_STEPS, _STEP = 20, 0.1
"""Steps of the stronger attack, and the length of one as a share of the budget."""


@dataclass(frozen=True, kw_only=True)
class Budgeted:
    """How far a perturbation may go.

    Args:
        eps: Budget, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
    """

    eps: float = 0.25
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        require(self.norm in NORMS, field="norm", expected=f"out of {', '.join(NORMS)}", got=self.norm)
        require_ball(self.eps, self.norm)


def hold_out(images: ImageSet, rng: Rng) -> tuple[ImageSet, ImageSet | None]:
    """The images to learn from, and those to attack: of every label in proportion, none of too small a set."""
    assert images.labels is not None
    count = min(_MOST, int(_SHARE * len(images)))
    if not count:
        return images, None
    chosen = sample(images.labels.tolist(), len(images), count, rng=rng)
    return images.subset(sorted(set(range(len(images))) - set(chosen))), images.subset(chosen)


class Diary(nn.Module):
    """What the attacks after every epoch came to; it is trained along, without weights, so that a checkpoint has it.

    Args:
        epochs: Of the training, at most.
        batches: In an epoch.
    """

    seen: Tensor
    figures: Tensor

    def __init__(self, epochs: int, batches: int) -> None:
        super().__init__()
        self.batches = batches
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("figures", torch.zeros(epochs, 2, dtype=torch.float64))

    def turns(self) -> int | None:
        """The epochs that are over where a batch is the first of the next one; to be asked once for each batch."""
        before = int(self.seen)
        self.seen += 1
        return None if before % self.batches else before // self.batches

    def write(self, epoch: int, figures: tuple[float, float]) -> None:
        """Keep the accuracies after so many epochs."""
        self.figures[epoch] = torch.tensor(figures, dtype=self.figures.dtype)

    def records(self, epochs: int, last: tuple[float, float]) -> tuple[AttackedRecord, ...]:
        """All that was written, and the accuracies after the last epoch."""
        rows = [*self.figures[:epochs].tolist(), last]
        return tuple(AttackedRecord(epoch=n, one_step=one, many_steps=many) for n, (one, many) in enumerate(rows))


def under_attack(model: Classifier, images: ImageSet, budget: Budgeted, rng: Rng) -> tuple[float, float]:
    """Accuracy on images after one step of the budget, and after many from a random start; the model is frozen."""
    assert images.labels is not None
    ascent = Ascent(norm=budget.norm, eps=budget.eps, step=_STEP * budget.eps, steps=_STEPS)
    one, many = [], []
    with model.frozen():
        for number, batch in enumerate(images.batches(fitting_batch(images))):
            assert batch.labels is not None
            pixels, labels = batch.images.to(model.device), batch.labels.to(model.device)
            start = rng.child("start", number=number)
            one.append(_right(model, fgsm(Problem(model, pixels, labels), budget.eps, budget.norm), labels))
            many.append(_right(model, pgd(model, pixels, labels, climb=away, ascent=ascent, rng=start), labels))
    return sum(one) / len(images), sum(many) / len(images)


def _right(model: Classifier, images: Images, labels: Labels) -> int:
    """How many of a batch get their label."""
    with torch.no_grad():
        return int((finite_logits(model, images).argmax(1) == labels).sum())


def overfitted(attacked: Sequence[AttackedRecord], images: int, classes: int) -> tuple[int, int] | None:
    """The first epoch in which catastrophic overfitting shows, after the one it is compared with; ``None`` where none.

    Accuracy under many steps was better than chance in an earlier epoch, and has fallen to less than half of its best,
    by more than the sample explains, while under one step it has risen.

    Args:
        attacked: By epoch.
        images: How many were attacked.
        classes: Of the model.

    Returns:
        The earlier epoch with the best accuracy under many steps, and the later one.

    Reference: Wong et al., Fast is better than free, ICLR 2020, section 5.4, which stops training where accuracy
    under PGD on a batch of training images falls suddenly.
    """
    for number, now in enumerate(attacked):
        best = max(attacked[:number], key=lambda one: one.many_steps, default=now)
        before, after = _rate(best.many_steps, images), _rate(now.many_steps, images)
        fell = after.value < before.value / 2 and after.high < before.low
        if fell and before.low > 1 / classes and now.one_step > best.one_step:
            return best.epoch, now.epoch
    return None


def told(attacked: Sequence[AttackedRecord], images: int, classes: int, budget: Budgeted) -> tuple[str, ...]:
    """What the attacks show, in plain sentences."""
    last, size = attacked[-1], f"{budget.norm} {budget.eps:g}"
    right = f"it is right on {_percent(last.one_step)} after one step of {size}"
    said = [f"Of {images} images that were held out {right}, and on {_percent(last.many_steps)} after {_STEPS} steps."]
    found = overfitted(attacked, images, classes)
    one, many = _rate(last.one_step, images), _rate(last.many_steps, images)
    if found is not None:
        before, after = (next(a for a in attacked if a.epoch == epoch) for epoch in found)
        said.append(
            f"Catastrophic overfitting: from epoch {before.epoch} to {after.epoch} accuracy under {_STEPS} steps fell "
            f"from {_percent(before.many_steps)} to {_percent(after.many_steps)}, while under one step it rose from "
            f"{_percent(before.one_step)} to {_percent(after.one_step)}."
        )
    elif many.high < 1 / classes < one.low:
        said.append("It stands one step, and not many: who takes several misleads it all the same.")
    return tuple(said)


def _rate(share: float, images: int) -> Rate:
    return wilson(round(share * images), images)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
