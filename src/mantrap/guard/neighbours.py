"""Deep nearest neighbours: an image far from every clean image that gets the same answer, in some layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from mantrap.core import (
    SILENT,
    Classifier,
    Cost,
    FittedGuard,
    ImageSet,
    Progress,
    ReversedTrigger,
    Rng,
    Scorer,
    require,
)
from mantrap.core.shapes import Images, Labels
from mantrap.guard.fitting import Calibrated, calibrated, check_fit, part_of, parted
from mantrap.ops.neurons import inner_layers, neuron_count, values_through
from mantrap.ops.scores import finite, fitting_batch

_FARTHEST = 2.0
"""Between two vectors of length 1; so far is an image of another answer, so that it never counts."""
_NEAREST, _LEAST_SPREAD = 1e-6, 0.05

Directions = Float[Tensor, "_ _"]
Distances = Float[Tensor, "n layers"]


@dataclass(frozen=True, kw_only=True)
class Neighbours(Calibrated):
    """Flag an image that lies, in some layer, far from every clean image that gets the same answer.

    Use it first: it needs no trigger and one pass for each image. A trigger brings an image to its label by another way
    than that of the label's own images, and in some layer this shows, whatever the trigger looks like. Where no clean
    image gets a label, the nearest ones of other labels have to do.

    Args: those of :class:`~mantrap.guard.fitting.Calibrated`, and:
        rank: Which neighbour counts, from 1, the nearest; where fewer get the same answer, those of any answer count.

    Reference: Sun et al., Out-of-distribution detection with deep nearest neighbors, ICML 2022, section 3 (features of
    length 1, distance to a near neighbour); Mo et al., Robust backdoor detection for deep learning via topological
    evolution dynamics, IEEE S&P 2024 (the nearest neighbour of the same answer, in every layer). Deviations: distances
    and not ranks of neighbours go through the layers, and the largest counts, in standard deviations of the logarithm
    among clean images: ranks found less (decision 0027).
    """

    name: ClassVar[str] = "neighbours"
    quick: ClassVar[str] = "neighbours(rank=2)"
    needs_triggers: ClassVar[bool] = False

    rank: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rank >= 1, field="rank", expected="of at least 1", got=self.rank)

    @property
    def passes(self) -> int:
        """Images that a network looks at for each image that is scored."""
        return 1

    def fit(
        self,
        model: Classifier,
        clean: ImageSet,
        *,
        triggers: Sequence[ReversedTrigger] = (),
        fpr: float,
        rng: Rng,
        progress: Progress = SILENT,
    ) -> FittedGuard:
        """Remember what the layers say to clean images, and set the threshold; triggers are not looked at.

        Raises:
            DataError: Images that do not fit the model.
            UsageError: Too few images for the rate, or a network without dense and convolutional layers.
        """
        check_fit(self, model, clean, triggers)
        layers = inner_layers(model)
        learning, others = parted(clean, self.calibration, fpr=fpr, rng=rng)
        with model.frozen(), torch.no_grad():
            batches = learning.batches(fitting_batch(learning))
            found = [_directions(model, batch.images.to(model.device), layers) for batch in batches]
        answers = torch.cat([answer for _, answer in found])
        directions = [torch.cat(parts) for parts in zip(*(parts for parts, _ in found), strict=True)]
        # Among themselves each image's nearest neighbour is itself, and does not count.
        usual = _distances(directions, answers, directions, answers, self.rank + 1).log()
        learned = {f"directions.{number}": one for number, one in enumerate(directions)}
        learned |= {"answers": answers, "centre": usual.mean(0), "spread": usual.std(0, correction=0)}
        cost = Cost(forward=len(learning))
        fitted = calibrated(self, model, learned, others, fpr=fpr, cost=cost, progress=progress)
        return replace(fitted, notes=_notes(answers, model.num_classes))

    def scorer(self, model: Classifier, learned: Mapping[str, Tensor]) -> Scorer:
        """The largest distance of any layer, in standard deviations from those between clean images."""
        layers = inner_layers(model)
        answers = part_of(learned, "answers", None).to(model.device)
        centre, spread = (part_of(learned, name, len(layers)).to(model.device) for name in ("centre", "spread"))
        known = [
            part_of(learned, f"directions.{number}", len(answers), neuron_count(model, layer)).to(model.device)
            for number, layer in enumerate(layers)
        ]

        def score(images: Images) -> Tensor:
            here, given = _directions(model, images, layers)
            away = _distances(here, given, known, answers, self.rank).log()
            largest: Tensor = ((away - centre) / (spread + _LEAST_SPREAD)).amax(1)
            return largest

        return score


def _notes(answers: Labels, classes: int) -> tuple[str, ...]:
    """A sentence on labels that no image gets, where there are some."""
    missing = classes - len(answers.unique())
    if not missing:
        return ()
    said = f"Of {classes:,} labels {missing:,} are given to none of the images that the guard learned from"
    return (f"{said}; images that get one of these are compared with all. More images make it better.",)


def _directions(model: Classifier, images: Images, layers: Sequence[str]) -> tuple[list[Directions], Labels]:
    """What each layer reads from the images, as vectors of length 1, and the answers."""
    values, logits = values_through(model, images, layers)
    return [normalize(one, dim=1) for one in values], finite(logits).argmax(1)


def _distances(
    here: Sequence[Directions],
    answers: Labels,
    known: Sequence[Directions],
    theirs: Int64[Tensor, " m"],
    rank: int,
) -> Distances:
    """From each image to its near neighbour among known ones of the same answer, layer by layer, [n, layers].

    Where too few get the same answer, all of them count: were such images as far as can be, a model of many classes
    would have so many clean ones there that no threshold lies below.
    """
    alike = answers[:, None] == theirs
    strange = ~alike & (alike.sum(1, keepdim=True) >= rank)
    found = []
    for one, others in zip(here, known, strict=True):
        away = _apart(one, others).masked_fill(strange, _FARTHEST)
        found.append(away.topk(min(rank, away.shape[1]), largest=False).values[:, -1])
    return torch.stack(found, dim=1).clamp(min=_NEAREST)


def _apart(ones: Directions, others: Directions) -> Float[Tensor, "_ _"]:
    """The distance from each vector to each other one, by their products: in double precision nothing is cancelled."""
    here, there = ones.double(), others.double()
    squared = here.square().sum(1, keepdim=True) + there.square().sum(1) - 2 * here @ there.T
    return squared.clamp(min=0).sqrt().float()
