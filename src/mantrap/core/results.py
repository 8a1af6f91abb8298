"""What detectors return: findings with their tensors."""

from dataclasses import dataclass, field

from torch import Tensor

from mantrap.core.shapes import Mask, Pattern
from mantrap.records import Rate


@dataclass(frozen=True, eq=False)
class ReversedTrigger:
    """The trigger that a search recovered for one label.

    Args:
        target: The label that the trigger leads to.
        mask: How much of each pixel is replaced, [h, w] in [0, 1].
        pattern: What it is replaced by, [c, h, w] in [0, 1].
        censored: True where no mask met the success threshold; mask and pattern are then the last ones tried, and
            there is no norm.
        steps: How many steps the search took.
        stopped: Why it ended: ``"early stop"``, ``"last step"``, or ``"cut short"`` before its norm had settled.
        success: Share of held-out images that the trigger sends to the target; ``None`` where none was measured.
    """

    target: int
    mask: Mask
    pattern: Pattern
    censored: bool
    steps: int
    stopped: str
    success: Rate | None = None

    @property
    def norm(self) -> float | None:
        """L1 norm of the mask in pixels, or ``None`` when censored."""
        return None if self.censored else float(self.mask.abs().sum().item())


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
        triggers: One recovered trigger for each label that was scanned.
        suspects: Labels that look infected, most suspicious first.
        score: Higher is more suspicious, on the detector's own scale; ``None`` where there is nothing to score.
        indices: Signed MAD anomaly index by label (above 0: a smaller norm than the median); censored labels have none.
        cost: What the scan cost.
        notes: What the reader must know, in plain sentences.
        blind_spots: What this detector cannot see, in plain sentences.
        extra: Further tensors worth keeping, by name.
    """

    detector: str
    num_classes: int
    triggers: tuple[ReversedTrigger, ...]
    suspects: tuple[int, ...]
    score: float | None
    indices: dict[int, float]
    cost: Cost
    notes: tuple[str, ...] = ()
    blind_spots: tuple[str, ...] = ()
    extra: dict[str, Tensor] = field(default_factory=dict)

    def trigger_for(self, label: int) -> ReversedTrigger | None:
        """The trigger recovered for a label, if it was scanned."""
        return next((t for t in self.triggers if t.target == label), None)
