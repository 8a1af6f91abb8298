"""Neural Cleanse: for every label, find the smallest patch that sends all images there.

The label that a backdoor leads to needs a much smaller patch than the others. This is the paper's mode: it follows the
paper and its authors' published code step by step, and it is the yardstick of every faster variant.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mantrap.core import (
    FORGETFUL,
    SILENT,
    Classifier,
    Cost,
    Detection,
    ImageSet,
    Memo,
    Progress,
    ReversedTrigger,
    Rng,
    Stage,
    require,
    spec_of,
)
from mantrap.core.shapes import Images, Logits, Mask, Pattern
from mantrap.detect.heldout import measure_triggers
from mantrap.errors import FailedError, UsageError
from mantrap.ops.outliers import anomaly_indices
from mantrap.ops.stamp import stamp

PAPER_THRESHOLD = 2.0
"""Anomaly index above which the paper calls a label infected."""

_TANH_EPSILON = 1e-7
"""Keeps the change of variables away from 0 and 1, where its gradient vanishes (the backend's epsilon in the reference)."""

BLIND_SPOTS = (
    "Backdoors that react to some classes only, or that send every class to another one.",
    "Triggers that cover much of the image, or that warp, blend or change from image to image.",
)

_STOPPED = ("last step", "early stop")


@dataclass(frozen=True, kw_only=True)
class NeuralCleanse:
    """Find, for every label, the smallest patch that sends all images there; a label that needs far less is a suspect.

    Use it where a backdoor shows itself by a small patch at a fixed place. It does not see backdoors that react to
    some classes only or that send every class elsewhere, nor triggers that cover much of the image.

    Args:
        steps: Most steps for a label; the L1 weight may change after each.
        images_per_step: Images that one step looks at, in batches.
        batch_size: Images in one update.
        learning_rate: Of Adam, with betas 0.5 and 0.9.
        success_threshold: Share of a step's images that must reach the label for a mask to count.
        initial_cost: First L1 weight after 0, once the attack works.
        cost_multiplier: The weight grows by this factor while the attack works, and shrinks by its 1.5th power otherwise.
        patience: Steps in a row after which the weight changes.
        early_stop_threshold: A step counts as no progress when the smallest norm is at least this share of the one before.
        early_stop_patience: Steps without progress after which a label is finished.
        labels_at_once: Labels optimised side by side; each label's result stays what it would be alone.

    Reference: Wang et al., Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks, IEEE S&P
    2019, sections IV-A to IV-C, and the authors' published code. The defaults are those of its example for traffic
    signs, except the cost multiplier, which is 1.5 as in its class (the example has 2).

    Deviations: masks and norms stay floating point (the reference reads norms back from 8-bit pictures); Adam's epsilon
    is added after the bias correction; images are drawn for each label from a stream of its own.
    """

    name: ClassVar[str] = "neural_cleanse"
    quick: ClassVar[str] = "neural_cleanse(steps=30, images_per_step=32, patience=2, early_stop_patience=6)"

    steps: int = 1000
    images_per_step: int = 1000
    batch_size: int = 32
    learning_rate: float = 0.1
    success_threshold: float = 0.99
    initial_cost: float = 1e-3
    cost_multiplier: float = 1.5
    patience: int = 5
    early_stop_threshold: float = 1.0
    early_stop_patience: int = 25
    labels_at_once: int = 1

    def __post_init__(self) -> None:
        for field in ("steps", "images_per_step", "batch_size", "patience", "early_stop_patience", "labels_at_once"):
            value = getattr(self, field)
            require(value >= 1, field=field, expected="of at least 1", got=value)
        for field in ("learning_rate", "initial_cost", "early_stop_threshold"):
            value = getattr(self, field)
            require(value > 0, field=field, expected="above 0", got=value)
        require(self.cost_multiplier > 1, field="cost_multiplier", expected="above 1", got=self.cost_multiplier)
        require(
            0 < self.success_threshold <= 1, field="success_threshold", expected="in (0, 1]", got=self.success_threshold
        )

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
        """Reverse a trigger for each label, measure it on other images, and compare the norms.

        Args:
            model: The classifier in question.
            clean: Images to search with; all of them serve every label, those of the label itself included.
            heldout: Other images, to measure the success of each trigger on.
            labels: Which labels to scan; all where ``None``.
            rng: Source of randomness.
            progress: Observer of the work.
            memo: Keeps each finished label.

        Returns:
            A trigger for each label; ``score`` is the anomaly index of the smallest norm (positive on the low side).

        Raises:
            UsageError: A label that the model does not have.
            FailedError: The model's output is not finite.
        """
        targets = tuple(range(model.num_classes)) if labels is None else tuple(labels)
        reversed_, cost = reverse_triggers(
            model, clean, targets, settings=self, rng=rng.child(self.name), progress=progress, memo=memo
        )
        triggers, heldout_cost = measure_triggers(model, heldout, reversed_)
        norms = {t.target: t.norm for t in triggers if t.norm is not None}
        indices = dict(zip(norms, anomaly_indices(list(norms.values())), strict=True)) if norms else {}
        suspects = sorted((t for t, index in indices.items() if index < -PAPER_THRESHOLD), key=lambda t: norms[t])
        return Detection(
            detector=str(spec_of(self)),
            num_classes=model.num_classes,
            triggers=triggers,
            suspects=tuple(suspects),
            score=-min(indices.values()) if indices else None,
            indices=indices,
            cost=cost + heldout_cost,
            blind_spots=BLIND_SPOTS,
        )


def reverse_triggers(
    model: Classifier,
    images: ImageSet,
    targets: Sequence[int],
    *,
    settings: NeuralCleanse,
    rng: Rng,
    progress: Progress = SILENT,
    memo: Memo = FORGETFUL,
) -> tuple[tuple[ReversedTrigger, ...], Cost]:
    """For each target, the smallest patch found that sends ``success_threshold`` of the images there.

    Args:
        model: The classifier; frozen meanwhile.
        images: Images to search with.
        targets: Labels to search for, each in a search of its own.
        settings: Schedule and thresholds.
        rng: Source of randomness; label t draws from ``rng.child("label", target=t)``.
        progress: Observer; one unit a label.
        memo: Finished labels are taken from here and put here.

    Returns:
        One trigger for each target, in their order, and the images it took. What came from the memo cost nothing now,
        but counts all the same: the cost is that of the result.

    Raises:
        UsageError: A target that the model does not have.
        FailedError: The model's output is not finite.
    """
    wrong = [t for t in targets if not 0 <= t < model.num_classes]
    if wrong:
        raise UsageError(
            expected=f"labels from 0 to {model.num_classes - 1}",
            got=f"{wrong}",
            remedy="Scan labels that the model has.",
        )
    found: dict[int, ReversedTrigger] = {}
    seen = 0
    with model.frozen(), progress.stage("reverse triggers", len(targets)) as stage:
        pending: list[int] = []
        for target in targets:
            kept = memo.load(f"label-{target}")
            if kept is None:
                pending.append(target)
                continue
            found[target], images_seen = _unpack(target, kept)
            seen += images_seen
            stage.advance(1, f"label {target} from the run before")
        for start in range(0, len(pending), settings.labels_at_once):
            group = [
                _Search(t, model, images, settings, rng.child("label", target=t))
                for t in pending[start : start + settings.labels_at_once]
            ]
            for search in _side_by_side(model, group, stage):
                found[search.target] = search.result()
                seen += search.images_seen
                memo.save(f"label-{search.target}", _pack(found[search.target], search.images_seen))
    return tuple(found[t] for t in targets), Cost(forward=seen, backward=seen)


def _side_by_side(model: Classifier, group: list["_Search"], stage: Stage) -> Iterator["_Search"]:
    """Run searches in step, one forward pass for all of them, and hand each over when it is finished.

    The searches share nothing but the pass through the model: in eval mode no image's logits depend on another image.
    """
    active = group
    while active:
        for _ in range(active[0].batches_per_step):
            stamped = [search.stamped() for search in active]
            logits = model.logits(torch.cat(stamped)).split([len(s) for s in stamped])
            losses = [search.loss(answer) for search, answer in zip(active, logits, strict=True)]
            torch.stack(losses).sum().backward()
            for search in active:
                search.update()
        for search in active:
            search.end_step()
            stage.advance(1 if search.stopped else 0, f"label {search.target}, step {search.step}")
        yield from (search for search in active if search.stopped)
        active = [search for search in active if not search.stopped]


class _Search:
    """The search for one label's trigger; mask, pattern, optimiser and L1 weight start anew with each label."""

    def __init__(self, target: int, model: Classifier, images: ImageSet, settings: NeuralCleanse, rng: Rng) -> None:
        self.target, self.settings, self.device = target, settings, model.device
        self.batches_per_step = max(1, settings.images_per_step // settings.batch_size)
        self._stream = _endless_batches(images, settings.batch_size, rng.child("images"))
        c, h, w = model.input_shape
        start = rng.child("start").torch()
        self._mask_tanh = _to_tanh(torch.rand(h, w, generator=start)).to(self.device).requires_grad_()
        self._pattern_tanh = _to_tanh(torch.rand(c, h, w, generator=start)).to(self.device).requires_grad_()
        self._adam = torch.optim.Adam(
            [self._pattern_tanh, self._mask_tanh], lr=settings.learning_rate, betas=(0.5, 0.9), eps=1e-7
        )
        self._schedule = _CostSchedule(settings)
        self._best: tuple[Mask, Pattern] | None = None
        self._hits = self._shown = 0
        self._norms: list[float] = []
        self.images_seen = self.step = 0
        self.stopped = ""

    @property
    def mask(self) -> Mask:
        return _from_tanh(self._mask_tanh)

    @property
    def pattern(self) -> Pattern:
        return _from_tanh(self._pattern_tanh)

    def stamped(self) -> Images:
        """The next batch of images with the present trigger on them."""
        return stamp(next(self._stream).to(self.device), self.mask, self.pattern)

    def loss(self, logits: Logits) -> Tensor:
        """Cross-entropy towards the target plus the weighted L1 norm of the mask; counts the hits on the way."""
        norm = self.mask.sum()
        entropy = cross_entropy(logits, torch.full((len(logits),), self.target, device=self.device))
        if not math.isfinite(float(entropy.detach())):
            raise FailedError(
                expected=f"finite logits while searching for label {self.target}",
                got=f"a loss of {float(entropy.detach())} at step {self.step}",
                remedy="Check the model's declared preprocessing and its weights.",
            )
        self._hits += int((logits.detach().argmax(1) == self.target).sum())
        self._shown += len(logits)
        self._norms.append(float(norm.detach()))
        return entropy + self._schedule.cost * norm

    def update(self) -> None:
        """One step of Adam on mask and pattern."""
        self._adam.step()
        self._adam.zero_grad()

    def end_step(self) -> None:
        """Keep the mask if it is the smallest that works, then stop or change the weight of its norm."""
        works = self._hits / self._shown >= self.settings.success_threshold
        norm = sum(self._norms) / len(self._norms)
        if works and norm < self._schedule.best_norm:
            self._best = (self.mask.detach().cpu().clone(), self.pattern.detach().cpu().clone())
            self._schedule.best_norm = norm
        self.images_seen += self._shown
        self._hits = self._shown = 0
        self._norms = []
        self.step += 1
        if self._schedule.exhausted():
            self.stopped = "early stop"
        elif self.step == self.settings.steps:
            self.stopped = "last step"
        else:
            self._schedule.adapt(works)

    def result(self) -> ReversedTrigger:
        """The smallest trigger that worked, or the last one tried, marked as censored."""
        mask, pattern = self._best or (self.mask.detach().cpu(), self.pattern.detach().cpu())
        return ReversedTrigger(self.target, mask, pattern, self._best is None, self.step, self.stopped)


class _CostSchedule:
    """The L1 weight of one search: 0 until the attack works, then up while it works and down while it does not."""

    def __init__(self, settings: NeuralCleanse) -> None:
        self._settings = settings
        self.cost = 0.0
        self.best_norm = math.inf
        self._ready = self._up = self._down = self._idle = 0
        self._went_up = self._went_down = False
        self._norm_before = math.inf

    def exhausted(self) -> bool:
        """Whether the weight went both ways and the norm has not shrunk for long enough."""
        if self.best_norm < math.inf:
            no_progress = self.best_norm >= self._settings.early_stop_threshold * self._norm_before
            self._idle = self._idle + 1 if no_progress else 0
        self._norm_before = min(self.best_norm, self._norm_before)
        return self._went_up and self._went_down and self._idle >= self._settings.early_stop_patience

    def adapt(self, works: bool) -> None:
        """Change the weight after a step that worked or did not."""
        patience, factor = self._settings.patience, self._settings.cost_multiplier
        self._ready = self._ready + 1 if self.cost == 0 and works else 0
        if self._ready >= patience:
            self.cost = self._settings.initial_cost
            self._up = self._down = 0
            self._went_up = self._went_down = False
        self._up, self._down = (self._up + 1, 0) if works else (0, self._down + 1)
        if self._up >= patience:
            self._up, self._went_up = 0, True
            self.cost *= factor
        elif self._down >= patience:
            self._down, self._went_down = 0, True
            self.cost /= factor**1.5


def _endless_batches(images: ImageSet, size: int, rng: Rng) -> Iterator[Images]:
    """Batches from one shuffled pass over the images after another; the last of a pass may be smaller."""
    generator = rng.torch()
    while True:
        order = torch.randperm(len(images), generator=generator).tolist()
        for start in range(0, len(order), size):
            yield images.images(order[start : start + size])


def _to_tanh(values: Tensor) -> Tensor:
    return torch.atanh((values - 0.5) * (2 - _TANH_EPSILON))


def _from_tanh(values: Tensor) -> Tensor:
    return torch.tanh(values) / (2 - _TANH_EPSILON) + 0.5


def _pack(trigger: ReversedTrigger, images_seen: int) -> dict[str, Tensor]:
    facts = (trigger.censored, trigger.steps, _STOPPED.index(trigger.stopped), images_seen)
    return {"mask": trigger.mask, "pattern": trigger.pattern, "facts": torch.tensor(facts, dtype=torch.int64)}


def _unpack(target: int, kept: dict[str, Tensor]) -> tuple[ReversedTrigger, int]:
    censored, steps, stopped, images_seen = kept["facts"].tolist()
    trigger = ReversedTrigger(target, kept["mask"], kept["pattern"], bool(censored), steps, _STOPPED[stopped])
    return trigger, images_seen
