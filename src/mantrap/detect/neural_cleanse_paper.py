"""Neural Cleanse as its paper has it, step by step: the yardstick of the faster search in ``neural_cleanse``."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
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
    LabelFinding,
    Memo,
    OutOfTime,
    Progress,
    ReversedPatch,
    Rng,
    Stage,
    require,
    spec_of,
)
from mantrap.detect.by_norm import PATCH_BLIND_SPOTS, PATCH_UNIT, Found, norm_detection, patch_traits, targets_of
from mantrap.detect.paper_search import STOPPED, SearchSettings, TriggerSearch
from mantrap.detect.units import unit_by_unit

_STREAM = "neural_cleanse"
"""Name of the random stream: that under which the published tables were measured."""


_Reversed = tuple[LabelFinding, ReversedPatch | None]


@dataclass(frozen=True, kw_only=True)
class PaperNeuralCleanse(SearchSettings):
    """Neural Cleanse just as the paper and its authors' published code have it, to compare others with.

    It takes some seventy times as long as ``neural_cleanse``, which looks for the same.

    Args:
        labels_at_once: Labels optimised side by side; each label's result stays what it would be alone. All other
            options are those of :class:`~mantrap.detect.paper_search.SearchSettings`.

    Reference: Wang et al., Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks, IEEE S&P
    2019, sections IV-A to IV-C, and the authors' published code. The defaults are those of its example for traffic
    signs, except the cost multiplier, which is 1.5 as in its class (the example has 2).

    Deviations: masks and norms stay floating point (the reference reads norms back from 8-bit pictures); Adam's epsilon
    is added after the bias correction; images are drawn for each label from a stream of its own.
    """

    name: ClassVar[str] = "neural_cleanse_paper"
    quick: ClassVar[str] = "neural_cleanse_paper(steps=30, images_per_step=32, patience=2, early_stop_patience=6)"

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
            memo: Keeps finished labels, ``labels_at_once`` together.

        Returns:
            A trigger for each label; ``score`` is the anomaly index of the smallest norm.

        Raises:
            UsageError: A label that the model does not have.
            FailedError: The model's output is not finite.
        """
        targets = targets_of(model, labels)
        with model.frozen():
            found = reverse_triggers(
                model, clean, targets, settings=self, rng=rng.child(_STREAM), progress=progress, memo=memo
            )
            norms = {f.label: f.norm for f in found.labels if f.norm is not None}
            return norm_detection(
                str(spec_of(self)),
                model,
                found,
                heldout=heldout,
                unit=PATCH_UNIT,
                traits=patch_traits(norms, model.input_shape),
                blind_spots=PATCH_BLIND_SPOTS,
            )


def reverse_triggers(
    model: Classifier,
    images: ImageSet,
    targets: Sequence[int],
    *,
    settings: PaperNeuralCleanse,
    rng: Rng,
    progress: Progress = SILENT,
    memo: Memo = FORGETFUL,
) -> Found:
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
        What was found out about each target, in their order, the triggers of those that have one, and the images it
        took. What came from the memo cost nothing now, but counts all the same: the cost is that of the result.

    Raises:
        UsageError: A target that the model does not have.
        FailedError: The model's output is not finite.
    """
    targets = targets_of(model, targets)
    together = settings.labels_at_once
    units = [targets[i : i + together] for i in range(0, len(targets), together)]
    found: dict[int, _Reversed] = {}
    seen = 0
    with model.frozen(), torch.enable_grad(), progress.stage("reverse triggers", len(targets)) as stage:

        def work(unit: Sequence[int]) -> dict[str, Tensor]:
            group = [TriggerSearch(t, model, images, settings, rng.child("label", target=t)) for t in unit]
            done = _side_by_side(model, group, stage)
            return {f"{s.target}.{k}": v for s in done for k, v in _pack(s.result(), s.images_seen).items()}

        with contextlib.suppress(OutOfTime):
            for unit, kept in unit_by_unit(units, memo, stage, work, made_with=model.device.type):
                for target in unit:
                    found[target], images_seen = _unpack(target, kept)
                    seen += images_seen
    reached = [t for t in targets if t in found]
    findings = tuple(found[t][0] for t in reached)
    triggers = tuple(trigger for t in reached if (trigger := found[t][1]) is not None)
    return Found(findings, triggers, Cost(forward=seen, backward=seen), missed=len(targets) - len(reached))


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
            with contextlib.suppress(OutOfTime) if search.stopped else contextlib.nullcontext():
                # What is finished is kept; the next label is told.
                stage.advance(search.share_done - before, f"label {search.target}, step {search.step}")
        yield from (search for search in active if search.stopped)
        active = [search for search in active if not search.stopped]


def _pack(found: _Reversed, images_seen: int) -> dict[str, Tensor]:
    finding, trigger = found
    facts = (finding.steps, STOPPED.index(finding.stopped), images_seen)
    tensors = {} if trigger is None else {"mask": trigger.mask, "pattern": trigger.pattern}
    return {**tensors, "facts": torch.tensor(facts, dtype=torch.int64)}


def _unpack(target: int, kept: Mapping[str, Tensor]) -> tuple[_Reversed, int]:
    own = {key.partition(".")[2]: tensor for key, tensor in kept.items() if key.partition(".")[0] == str(target)}
    steps, stopped, images_seen = own["facts"].tolist()
    trigger = ReversedPatch(target, own["mask"], own["pattern"]) if "mask" in own else None
    norm = None if trigger is None else trigger.norm
    return (LabelFinding(target, norm, steps, STOPPED[stopped]), trigger), images_seen
