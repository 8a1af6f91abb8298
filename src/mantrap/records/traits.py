"""What detectors measure of every label: the traits by which a backdoor's target may stand out."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Trait:
    """One thing that can be measured of every label of a model.

    Args:
        name: Its name, as in records and in the table of how clean models scatter.
        eye: What kind of evidence it is; traits of one eye look at the same thing, so that together they count once.
        title: Its name, for a reader.
        of: What it is, as the end of "stands out by".
        unit: What its values are, as the end of a sentence.
        ratio: Whether it is compared by ratios (its logarithm is taken) or by differences.
        low: Whether small values are the suspicious ones.
        level: Whether its absolute value says something; else only the differences between the labels of a model do.
        least: The smallest chance that it may claim: what has ordinary causes as well shall not accuse on its own.
        share: Whether values are shares, in (0, 1), which are compared by their log odds.
        floor: The smallest value that is told. Of a model most of whose labels lie there the trait says nothing: how
            they scatter is not known.
        weight: Its part of the false alarms of its eye, in proportion to those of the other traits there.
    """

    name: str
    eye: str
    title: str
    of: str
    unit: str
    ratio: bool = True
    low: bool = False
    level: bool = False
    least: float = 0.0
    share: bool = False
    floor: float = 0.0
    weight: float = 1.0

    def tells(self, values: Collection[float]) -> bool:
        """Whether the values of all labels say something of a model: most of them are more than the floor."""
        return 2 * sum(value > self.floor for value in values) > len(values) if self.floor else bool(values)

    def height(self, value: float) -> float | None:
        """How high a label stands, on a scale on which labels scatter about normally: above is more suspicious.

        ``None`` where the value has no place on it: not a finite number, none above 0 where ratios count, or none
        between 0 and 1 where shares do.
        """
        if self.share:
            return math.log(value / (1 - value)) if 0 < value < 1 else None
        if not math.isfinite(value) or (self.ratio and value <= 0):
            return None
        number = math.log(value) if self.ratio else value
        return -number if self.low else number


_LEAST = 1e-3
"""Unequal classes in honest training move the last layer as well."""

PATCH: Final = Trait(
    "patch",
    "trigger",
    "Patch",
    "how small a patch forces it",
    "the share of the picture that the smallest patch covers which sends pictures to the label",
    low=True,
    level=True,
)
PERTURBATION: Final = Trait(
    "perturbation",
    "trigger",
    "Perturbation",
    "how faint a change forces it",
    "the smallest change of all pixels that does so, root mean square, as a share of a pixel's range",
    low=True,
    level=True,
)
WARP: Final = Trait(
    "warp",
    "trigger",
    "Warp",
    "how near a slight warp comes to forcing it",
    "how near the slight warp that suits it best brings pictures to the label, from 0 for far away to 1",
    share=True,
    floor=1e-3,
    weight=0.25,
)
MARGIN: Final = Trait(
    "margin",
    "drive",
    "Margin",
    "how far its score can be driven",
    "how far the label's logit was driven above all others on any picture at all",
)
ROW_MEAN: Final = Trait(
    "row_mean",
    "row_mean",
    "Mean weight",
    "the mean of its weights in the last layer",
    "the mean of the label's weights in the last layer less the usual ones, as a share of their root mean square",
    ratio=False,
    least=_LEAST,
)
ROW_NORM: Final = Trait(
    "row_norm",
    "row_norm",
    "Length",
    "the length of its weights in the last layer",
    "the Euclidean length of the label's weights in the last layer less the usual ones",
    least=_LEAST,
)

TRAITS: Final = {t.name: t for t in (PATCH, PERTURBATION, WARP, MARGIN, ROW_MEAN, ROW_NORM)}
"""All that there are, in the order in which they are reported."""
