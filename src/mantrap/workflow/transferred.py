"""What models make of examples that were made for one of them, and names to tell the models apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mantrap.core import Classifier, ImageSet
from mantrap.core.shapes import Images, Labels
from mantrap.ops.intervals import wilson
from mantrap.ops.projections import steepest
from mantrap.records.transferring import TransferredRecord
from mantrap.workflow.plan import Source


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model makes of examples, image by image, [n] each; ``cosine`` of the images that have gradients alone."""

    wrong: Bool[Tensor, " n"]
    same: Bool[Tensor, " n"]
    noise: Bool[Tensor, " n"]
    cosine: Float[Tensor, " m"] | None


def joined(parts: Sequence[Answers]) -> TransferredRecord:
    """All batches as one."""
    wrong, same, noise = (torch.cat([getattr(part, what) for part in parts]) for what in ("wrong", "same", "noise"))
    cosines = [part.cosine for part in parts if part.cosine is not None]
    return TransferredRecord(
        wrong=wilson(int(wrong.sum()), len(wrong)),
        same=wilson(int(same.sum()), int(wrong.sum())) if bool(wrong.any()) else None,
        noise=wilson(int(noise.sum()), len(noise)),
        cosine=float(torch.cat(cosines).mean()) if sum(map(len, cosines)) else None,
    )


def cosines(one: Images, other: Images) -> Float[Tensor, " m"]:
    """The cosine of both gradients, of the images of which neither is 0; however small they are."""
    units = (steepest(one, "l2") * steepest(other, "l2")).flatten(1).sum(1)
    return units[one.flatten(1).any(1) & other.flatten(1).any(1)]


def numbered_alike(models: Sequence[Classifier], images: ImageSet) -> list[Labels]:
    """For each model a number for each of its classes, [k], the same for what models call the same.

    Numbers are those of the models themselves where the images do not name their classes, or all name them alike.
    """
    if not images.class_names or len({model.class_names for model in models}) == 1:
        return [torch.arange(model.num_classes) for model in models]
    numbers: dict[str, int] = {}
    return [torch.tensor([numbers.setdefault(name, len(numbers)) for name in model.class_names]) for model in models]


def told_apart(sources: Sequence[Source]) -> tuple[str, ...]:
    """Names of files, with the folder where two are called the same, and numbered where even that is the same."""
    names = [source.file_name for source in sources]
    if len(set(names)) < len(names):
        names = ["/".join(Path(source.path).parts[-2:]) or source.file_name for source in sources]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return tuple(names)
