"""What detectors return: findings with their tensors."""

from dataclasses import dataclass, field

from torch import Tensor

from mantrap.core.shapes import Mask, Pattern
from mantrap.records import Rate


@dataclass(frozen=True, eq=False)
class ReversedTrigger:
    """A trigger that a search recovered.

    Args:
        target: The label that the trigger leads to.
        mask: How much of each pixel is replaced, [h, w] in [0, 1].
        pattern: What it is replaced by, [c, h, w] in [0, 1].
    """

    target: int
    mask: Mask
    pattern: Pattern

    @property
    def norm(self) -> float:
        """L1 norm of the mask, in pixels."""
        return float(self.mask.abs().sum().item())


@dataclass(frozen=True)
class LabelFinding:
    """What a search found out about one label, without the trigger itself.

    Args:
        label: The label.
        norm: L1 norm of the smallest mask that met the success threshold, in pixels, measured alike for all labels of a
            detection; ``None`` where no mask met it.
        steps: How many steps the search took.
        stopped: Why it ended: ``"early stop"``, ``"last step"``, or ``"cut short"`` before its norm had settled.
        success: Share of held-out images that the label's trigger sends there; ``None`` where none was measured.
    """

    label: int
    norm: float | None
    steps: int
    stopped: str
    success: Rate | None = None

    @property
    def censored(self) -> bool:
        """Whether no mask met the success threshold."""
        return self.norm is None


@dataclass(frozen=True)
class Cost:
    """Images that went through the model: ``forward`` alone, and ``backward`` for those with a gradient as well."""

    forward: int = 0
    backward: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.forward + other.forward, self.backward + other.backward)


@dataclass(frozen=True, eq=False)
class Detection:
    """A detector's answer.

    Args:
        detector: Spec string of the detector.
        num_classes: Labels of the model.
        labels: What was found out about each label that was scanned, in the order in which they were asked for.
        triggers: The triggers of labels with a norm, smallest norm first: of all of them, or of the first few where
            holding all would take too much memory.
        suspects: Labels that look infected, most suspicious first.
        score: Higher is more suspicious, on the detector's own scale; ``None`` where there is nothing to score.
        p_value: The chance that the most suspicious label of a model without a backdoor stands out as far, whichever it
            is; ``None`` where there are too few labels to say.
        indices: Signed MAD anomaly index by label (above 0: a smaller norm than the median); censored labels have none.
        cost: What the scan cost.
        notes: What the reader must know, in plain sentences.
        blind_spots: What this detector cannot see, in plain sentences.
        extra: Further tensors worth keeping, by name.
        margins: What a detector that searches no trigger measured of each label, in logits; higher is more suspicious.
    """

    detector: str
    num_classes: int
    labels: tuple[LabelFinding, ...]
    triggers: tuple[ReversedTrigger, ...]
    suspects: tuple[int, ...]
    score: float | None
    indices: dict[int, float]
    cost: Cost
    notes: tuple[str, ...] = ()
    blind_spots: tuple[str, ...] = ()
    extra: dict[str, Tensor] = field(default_factory=dict)
    margins: dict[int, float] = field(default_factory=dict)
    p_value: float | None = None

    @property
    def first(self) -> int | None:
        """The label that stands out most; ``None`` where no label has an index."""
        return max(self.indices, key=lambda t: (self.indices[t], -t)) if self.indices else None

    @property
    def scanned(self) -> tuple[int, ...]:
        """The labels that were scanned, in the order in which they were asked for."""
        return tuple(f.label for f in self.labels) or tuple(self.margins)

    def finding_for(self, label: int) -> LabelFinding | None:
        """What was found out about a label, if it was scanned."""
        return next((f for f in self.labels if f.label == label), None)

    def trigger_for(self, label: int) -> ReversedTrigger | None:
        """The trigger of a label, if one was found and kept."""
        return next((t for t in self.triggers if t.target == label), None)
