"""What detectors return: findings with their tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from mantrap.core.classifier import Classifier
from mantrap.core.shapes import Mask, Pattern
from mantrap.records import PruningPoint, Rate
from mantrap.records.audit import GIVEN_UP


@dataclass(frozen=True, eq=False)
class ReversedPatch:
    """A patch behind a mask that a search recovered.

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


@dataclass(frozen=True, eq=False)
class ReversedPerturbation:
    """A change of all pixels that a search recovered.

    Args:
        target: The label that the trigger leads to.
        delta: What is added to each image before it is cut to [0, 1], [c, h, w] in [-1, 1].
    """

    target: int
    delta: Float[Tensor, "c h w"]

    @property
    def norm(self) -> float:
        """L2 norm, in ranges of a pixel."""
        return float(self.delta.norm().item())


@dataclass(frozen=True, eq=False)
class ReversedWarp:
    """A warp of images that a search recovered.

    Args:
        target: The label that the trigger leads to.
        flow: For each pixel how far to the right and how far down its new value is fetched, in pixels, [2, h, w].
    """

    target: int
    flow: Float[Tensor, "2 h w"]

    @property
    def norm(self) -> float:
        """Root mean square of how far pixels move, in pixels."""
        return float(self.flow.square().sum(0).mean().sqrt().item())


ReversedTrigger: TypeAlias = ReversedPatch | ReversedPerturbation | ReversedWarp
"""A trigger that a search recovered; :mod:`mantrap.ops.recovered` puts it on images."""


@dataclass(frozen=True)
class LabelFinding:
    """What a search found out about one label, without the trigger itself.

    Args:
        label: The label.
        norm: Size of the smallest trigger that met the success threshold, measured alike for all labels of a detection:
            of a patch the L1 norm of its mask, in pixels, of a perturbation its L2 norm; ``None`` where none met it, or
            where the label was given up.
            Where triggers are alike large, how many times as far from the label as near to it they leave images.
        steps: How many steps the search took.
        stopped: Why it ended: ``"early stop"``, ``"last step"``, ``"cut short"`` before its norm had settled, or
            ``"given up"`` because other labels looked likelier to be a target by then.
        success: Share of held-out images that the label's trigger sends there; ``None`` where none was measured.
    """

    label: int
    norm: float | None
    steps: int
    stopped: str
    success: Rate | None = None

    @property
    def censored(self) -> bool:
        """Whether its smallest trigger is not known: none met the success threshold, or it was given up."""
        return self.norm is None

    @property
    def given_up(self) -> bool:
        """Whether its search ended early because other labels looked likelier."""
        return self.stopped == GIVEN_UP


@dataclass(frozen=True, eq=False)
class Shifts:
    """How near a small patch comes to sending every class to another one, each to the class so many further on.

    Args:
        likely: For each number of classes further on how likely the model finds these labels, in [0, 1].
        patch: Of the likeliest; its ``target`` is by how many classes.
        moved: By class of held-out images, how many of them this patch sends to the class so many further on.
        usual: Whether it was searched as in the models without a backdoor that are known: with other patches other
            numbers are ordinary.
    """

    likely: Mapping[int, float]
    patch: ReversedPatch
    moved: Mapping[int, Rate]
    usual: bool = True

    @property
    def success(self) -> float:
        """Share of held-out images of all classes that are sent so many further on."""
        return sum(rate.hits for rate in self.moved.values()) / sum(rate.total for rate in self.moved.values())


Pair: TypeAlias = tuple[int, int]
"""A class, and another one that its images are sent to."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The smallest patch that sends the images of one class to another one, for ordered pairs of classes.

    Args:
        norms: L1 of the mask in pixels, by pair; infinite where no patch worked.
        patches: The patches that worked, by pair.
    """

    norms: Mapping[Pair, float]
    patches: Mapping[Pair, ReversedPatch]


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
        unit: What norms are, in words, where labels have norms.
        suspects: Labels that look infected, most suspicious first.
        score: Higher is more suspicious, on the detector's own scale; ``None`` where there is nothing to score.
        p_value: That of the test that the method was published with, where it has one: the chance that a label of a
            model without a backdoor stands out as far.
        indices: Signed MAD anomaly index by label (above 0: a smaller norm than the median); censored labels have none.
        cost: What the scan cost.
        notes: What the reader must know, in plain sentences.
        blind_spots: What this detector cannot see, in plain sentences.
        extra: Further tensors worth keeping, by name.
        traits: What was measured of each label, by the names of :mod:`mantrap.records.traits` and by label; labels of
            which it could not be measured are left out.
        missed: How many labels were not reached for want of time; what is said here is of the others.
        population: Where labels were given up early, those that were drawn at random and searched to the end whatever
            they looked like: with them labels are compared. ``None`` where all were searched alike.
        shifts: How near a patch comes to sending every class to another one, where such was searched.
        pairs: How small a patch sends one class to another, where such was searched.
    """

    detector: str
    num_classes: int
    labels: tuple[LabelFinding, ...] = ()
    triggers: tuple[ReversedTrigger, ...] = ()
    suspects: tuple[int, ...] = ()
    score: float | None = None
    indices: dict[int, float] = field(default_factory=dict)
    cost: Cost = Cost()
    notes: tuple[str, ...] = ()
    blind_spots: tuple[str, ...] = ()
    extra: dict[str, Tensor] = field(default_factory=dict)
    traits: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    p_value: float | None = None
    unit: str = ""
    shifts: Shifts | None = None
    pairs: Pairs | None = None
    missed: int = 0
    population: tuple[int, ...] | None = None

    @property
    def first(self) -> int | None:
        """The label that stands out most; ``None`` where no label has an index."""
        return max(self.indices, key=lambda t: (self.indices[t], -t)) if self.indices else None

    @property
    def scanned(self) -> tuple[int, ...]:
        """The labels that were scanned, in the order in which they were asked for."""
        return tuple(f.label for f in self.labels) or tuple(dict.fromkeys(t for v in self.traits.values() for t in v))

    def finding_for(self, label: int) -> LabelFinding | None:
        """What was found out about a label, if it was scanned."""
        return next((f for f in self.labels if f.label == label), None)

    def trigger_for(self, label: int) -> ReversedTrigger | None:
        """The trigger of a label, if one was found and kept."""
        return next((t for t in self.triggers if t.target == label), None)


@dataclass(frozen=True, eq=False)
class Repaired:
    """A repair's answer.

    Args:
        model: The repaired classifier, in eval mode.
        repair: Spec string of the repair.
        images: Images that it learned from.
        cost: What it cost.
        notes: What the reader must know, in plain sentences.
        curve: What was left of trigger and accuracy when more and more neurons were cut off, where they were.
    """

    model: Classifier
    repair: str
    images: int
    cost: Cost = Cost()
    notes: tuple[str, ...] = ()
    curve: tuple[PruningPoint, ...] = ()
