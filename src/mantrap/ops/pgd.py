"""Perturb images by projected gradient ascent: the one loop behind adversarial examples and what is made of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from mantrap.core import Classifier, Rng, require
from mantrap.core.shapes import Images, Labels
from mantrap.errors import FailedError, ModelError
from mantrap.ops.projections import Norm, check_ball, onto_ball, onto_box, require_ball, steepest, within_ball

PerImage: TypeAlias = Float[Tensor, " n"]
Climb: TypeAlias = Callable[[Classifier, Images, Labels], PerImage]
"""What to make large for each image by changing its pixels: of logits, of features, of whatever the model says.

It gets the labels that it leads away from, or towards, and keeps the gradient to the images.
"""


def away(model: Classifier, images: Images, labels: Labels) -> PerImage:
    """Cross-entropy of each image with its label: climbing it leads to any other class."""
    return cross_entropy(model.logits(images), labels, reduction="none")


def towards(model: Classifier, images: Images, labels: Labels) -> PerImage:
    """Less the cross-entropy of each image with its label: climbing it leads to that class."""
    return -away(model, images, labels)


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """How far a perturbation may go, and in what steps it is searched.

    Args:
        norm: ``"linf"``, the largest change of a value, or ``"l2"``, the Euclidean length over all values of an image.
        eps: Largest norm; pixels are in [0, 1].
        step: Norm of one step.
        steps: How many.
    """

    norm: Norm = "linf"
    eps: float
    step: float
    steps: int

    def __post_init__(self) -> None:
        require_ball(self.eps, self.norm)
        require(self.step > 0, field="step", expected="above 0", got=self.step)
        require(self.steps >= 1, field="steps", expected="of at least 1", got=self.steps)


def pgd(
    model: Classifier, images: Images, labels: Labels, *, climb: Climb, ascent: Ascent, rng: Rng | None = None
) -> Images:
    """Images near the given ones that make ``climb`` large, each on its own.

    Every step goes along the steepest direction, back onto the ball around the image, and back into the box of pixels;
    what comes out lies in both.

    Args:
        model: The classifier; frozen meanwhile.
        images: [n, c, h, w] in [0, 1].
        labels: The labels to lead away from, or towards, as ``climb`` has it, [n].
        climb: What to make large, such as :func:`away` or :func:`towards`.
        ascent: Norm, radius and steps.
        rng: Where the search begins: at a point drawn from the ball; at the images themselves where ``None``.

    Returns:
        The last point of each search, [n, c, h, w] in [0, 1], on the device of the images.

    Raises:
        FailedError: The gradient is not finite.
        UsageError: The ball is larger than the box.

    Reference: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018, section 2.1.
    """
    check_ball(ascent.eps, ascent.norm, model.input_shape)
    origin, labels = images.detach().to(model.device), labels.to(model.device)
    start = origin if rng is None else origin + within_ball(origin, ascent.eps, ascent.norm, rng)
    moved = onto_box(start)
    with model.frozen():
        for _ in range(ascent.steps):
            moved = one_step(origin, moved, slope(model, moved, labels, climb), ascent)
    return moved.to(images.device)


def one_step(origin: Images, moved: Images, rise: Images, ascent: Ascent) -> Images:
    """One step along the steepest direction, back onto the ball around the images, and back into the box of pixels.

    Args:
        origin: The images, [n, c, h, w] in [0, 1].
        moved: Where the step begins, [n, c, h, w].
        rise: What is climbed along, such as the gradient there, [n, c, h, w].
        ascent: Norm, radius and length of the step.
    """
    ahead = moved + ascent.step * steepest(rise, ascent.norm)
    return onto_box(origin + onto_ball(ahead - origin, ascent.eps, ascent.norm))


def slope(model: Classifier, images: Images, labels: Labels, climb: Climb) -> Images:
    """The gradient of each image's own ``climb`` to its pixels, [n, c, h, w].

    Raises:
        ModelError: What the model says has no gradient by the pixels.
        FailedError: It is not finite.
    """
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        return slope_at(pixels, climb(model, pixels, labels))


def slope_at(pixels: Images, heights: Float[Tensor, " m"], *, again: bool = False) -> Images:
    """The gradient of each image's own height to its pixels, which ask for one, [n, c, h, w].

    Args:
        pixels: What the heights were computed from, [n, c, h, w].
        heights: One for each image, or for some of them.
        again: What was kept for the way back is wanted once more.

    Raises:
        ModelError: The heights have no gradient by the pixels.
        FailedError: It is not finite.
    """
    if not heights.requires_grad:
        raise ModelError(
            expected="an answer that has a gradient by the pixels",
            got="one that is cut off from them, such as rounded or detached values",
            remedy="Take an evasion that needs none, such as square, or a model without the step that cuts it off.",
        )
    with torch.enable_grad():
        height = heights.sum()
    (gradient,) = torch.autograd.grad(height, pixels, retain_graph=again)
    # What is not finite shows in the sum, which is read much faster; a sum that overflows is looked at once more.
    if not bool(gradient.sum().isfinite()) and not bool(gradient.isfinite().all()):
        raise FailedError(
            expected="a finite gradient to the images",
            got="infinite values, or some that are no numbers",
            remedy="Check the model's declared preprocessing and its weights.",
        )
    return gradient
