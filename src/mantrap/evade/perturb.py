"""The one way to ask an evasion: it sees to what goes in, counts, and leaves the model as it was."""

from typing import TypeAlias

from jaxtyping import Int64
from torch import Tensor

from mantrap.core import (
    AWAY,
    SILENT,
    Classifier,
    Evasion,
    Goal,
    NotingEvasion,
    Perturbed,
    Problem,
    Progress,
    Rng,
    spec_of,
)
from mantrap.core.shapes import Images
from mantrap.errors import DataError, UsageError
from mantrap.ops.counting import counting

Classes: TypeAlias = Int64[Tensor, " m"]
"""Of as many images as there should be, which is looked at here."""


def perturb(
    evasion: Evasion,
    model: Classifier,
    images: Images,
    labels: Classes,
    *,
    goal: Goal = AWAY,
    rng: Rng,
    progress: Progress = SILENT,
) -> Perturbed:
    """Images near the given ones that a model takes for something else.

    Args:
        evasion: How they are made.
        model: The classifier to mislead; frozen meanwhile, and bitwise as it was afterwards.
        images: [n, c, h, w] in [0, 1], all of which go through the model at once.
        labels: Their own classes, [n].
        goal: Where to lead them.
        rng: Source of randomness.
        progress: Observer of the work.

    Raises:
        DataError: Images of another shape than the model takes, outside [0, 1] or not finite, or labels that the model
            does not have or of another number.
        UsageError: Targets that the model does not have or of another number, one that is the image's own class, or any
            where the evasion can only lead away; or a budget or number of classes that it cannot do with.
        ModelError: The evasion needs gradients and the model's answer has none by the pixels.
        FailedError: Logits or gradients are not finite.
    """
    _check_images(images, model.input_shape)
    _check_classes(labels, len(images), model.num_classes, "labels", DataError)
    if goal.targets is not None:
        _check_targets(evasion, goal.targets, labels, model.num_classes)
    here = model.device
    aimed = goal if goal.targets is None else Goal(goal.targets.to(here))
    with model.frozen(), counting(model) as count:
        problem = Problem(model, images.detach().to(here), labels.to(here), aimed)
        made = evasion.search(problem, rng=rng, progress=progress).detach()
    notes = evasion.notes(model) if isinstance(evasion, NotingEvasion) else ()
    return Perturbed(images=made.to(images.device), evasion=str(spec_of(evasion)), cost=count.cost, notes=notes)


def _check_images(images: Images, shape: tuple[int, int, int]) -> None:
    if tuple(images.shape[1:]) != shape:
        raise DataError(
            expected=f"images of shape {shape}, as the model takes them",
            got=f"{tuple(images.shape[1:])}",
            remedy="Give other images or another model.",
        )
    if not len(images):
        raise DataError(expected="images to perturb", got="none", remedy="Give one or more.")
    low, high = (float(end) for end in images.aminmax())
    if not (low >= 0 and high <= 1):  # not the other way round: what is no number is refused as well
        raise DataError(
            expected="images in [0, 1]",
            got=f"values from {low:.4g} to {high:.4g}",
            remedy="Give pixels before the model's own normalisation, scaled to [0, 1].",
        )


def _check_targets(evasion: Evasion, targets: Tensor, labels: Tensor, classes: int) -> None:
    if not evasion.aims:
        raise UsageError(
            expected=f"no targets for {evasion.name}, which only leads away from the own class",
            got=f"{len(targets)}",
            remedy="Leave the targets out, or take an evasion that aims, such as pgd.",
        )
    _check_classes(targets, len(labels), classes, "targets", UsageError)
    own = int((targets.cpu() == labels.cpu()).sum())
    if own:
        raise UsageError(
            expected="for each image a target that is another class than its own",
            got=f"{own} of {len(labels)} whose target is their own class",
            remedy="Leave these images out, or choose another target for them.",
        )


def _check_classes(
    classes: Tensor, images: int, known: int, what: str, error: type[DataError] | type[UsageError]
) -> None:
    """Refuse classes that are not one for each image, or that the model does not have."""
    if classes.shape != (images,):
        raise error(
            expected=f"{images} {what}, one for each image", got=f"{len(classes)}", remedy="Give as many as images."
        )
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= known:
        raise error(
            expected=f"{what} from 0 to {known - 1}, the model's {known} classes",
            got=f"{low} to {high}",
            remedy="Number classes as the model does.",
        )
