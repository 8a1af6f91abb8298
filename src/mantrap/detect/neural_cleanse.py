"""Neural Cleanse: for every label, find the smallest patch that sends all images there.

The label that a backdoor leads to needs a much smaller patch than the others. This is the paper's mode: it follows the
paper and its authors' published code step by step, and it is the yardstick of every faster variant.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

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
from mantrap.detect.heldout import measure_triggers
from mantrap.detect.search import STOPPED, SearchSettings, TriggerSearch
from mantrap.errors import UsageError
from mantrap.ops.outliers import anomaly_indices

PAPER_THRESHOLD = 2.0
"""Anomaly index above which the paper calls a label infected."""

BLIND_SPOTS = (
    "Backdoors that react to some classes only, or that send every class to another one.",
    "Triggers that cover much of the image, or that warp, blend or change from image to image.",
)


@dataclass(frozen=True, kw_only=True)
class NeuralCleanse(SearchSettings):
    """Find, for every label, the smallest patch that sends all images there; a label that needs far less is a suspect.

    Use it where a backdoor shows itself by a small patch at a fixed place. It does not see backdoors that react to
    some classes only or that send every class elsewhere, nor triggers that cover much of the image.

    Args:
        labels_at_once: Labels optimised side by side; each label's result stays what it would be alone. All other
            options are those of :class:`~mantrap.detect.search.SearchSettings`.

    Reference: Wang et al., Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks, IEEE S&P
    2019, sections IV-A to IV-C, and the authors' published code. The defaults are those of its example for traffic
    signs, except the cost multiplier, which is 1.5 as in its class (the example has 2).

    Deviations: masks and norms stay floating point (the reference reads norms back from 8-bit pictures); Adam's epsilon
    is added after the bias correction; images are drawn for each label from a stream of its own.
    """

    name: ClassVar[str] = "neural_cleanse"
    quick: ClassVar[str] = "neural_cleanse(steps=30, images_per_step=32, patience=2, early_stop_patience=6)"

    labels_at_once: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.labels_at_once >= 1, field="labels_at_once", expected="of at least 1", got=self.labels_at_once)

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
            A trigger for each label; ``score`` is the anomaly index of the smallest norm.

        Raises:
            UsageError: A label that the model does not have.
            FailedError: The model's output is not finite.
        """
        targets = tuple(range(model.num_classes)) if labels is None else tuple(labels)
        with model.frozen():
            reversed_, cost = reverse_triggers(
                model, clean, targets, settings=self, rng=rng.child(self.name), progress=progress, memo=memo
            )
            triggers, heldout_cost = measure_triggers(model, heldout, reversed_)
        norms = {t.target: t.norm for t in triggers if t.norm is not None}
        indices = dict(zip(norms, anomaly_indices(list(norms.values())), strict=True)) if norms else {}
        suspects = sorted((t for t, index in indices.items() if index > PAPER_THRESHOLD), key=lambda t: norms[t])
        return Detection(
            detector=str(spec_of(self)),
            num_classes=model.num_classes,
            triggers=triggers,
            suspects=tuple(suspects),
            score=max(indices.values()) if indices else None,
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
        progress: Observer; one unit a label, counted in parts as it goes.
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
    with model.frozen(), torch.enable_grad(), progress.stage("reverse triggers", len(targets)) as stage:
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
                TriggerSearch(t, model, images, settings, rng.child("label", target=t))
                for t in pending[start : start + settings.labels_at_once]
            ]
            for search in _side_by_side(model, group, stage):
                found[search.target] = search.result()
                seen += search.images_seen
                memo.save(f"label-{search.target}", _pack(found[search.target], search.images_seen))
    return tuple(found[t] for t in targets), Cost(forward=seen, backward=seen)


def _side_by_side(model: Classifier, group: list["TriggerSearch"], stage: Stage) -> Iterator["TriggerSearch"]:
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
            before = search.share_done
            search.end_step()
            stage.advance(search.share_done - before, f"label {search.target}, step {search.step}")
        yield from (search for search in active if search.stopped)
        active = [search for search in active if not search.stopped]


def _pack(trigger: ReversedTrigger, images_seen: int) -> dict[str, Tensor]:
    facts = (trigger.censored, trigger.steps, STOPPED.index(trigger.stopped), images_seen)
    return {"mask": trigger.mask, "pattern": trigger.pattern, "facts": torch.tensor(facts, dtype=torch.int64)}


def _unpack(target: int, kept: dict[str, Tensor]) -> tuple[ReversedTrigger, int]:
    censored, steps, stopped, images_seen = kept["facts"].tolist()
    trigger = ReversedTrigger(target, kept["mask"], kept["pattern"], bool(censored), steps, STOPPED[stopped])
    return trigger, images_seen
