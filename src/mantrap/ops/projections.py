"""Norms of perturbations, image by image, and the nearest point of a ball or of the box of pixels."""

import math
from typing import Final, Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import Rng, require
from mantrap.core.shapes import Images
from mantrap.errors import UsageError

Norm: TypeAlias = Literal["linf", "l2"]
"""How a perturbation is measured: its largest change of a value, or its Euclidean length."""
AnyNorm: TypeAlias = Literal["linf", "l2", "l1"]
"""The same, or the sum of its changes."""
NORMS: Final[tuple[str, ...]] = get_args(AnyNorm)


def require_ball(eps: float, norm: AnyNorm) -> None:
    """Refuse a ball that is none, or that reaches beyond the pixels' range, in a dataclass's ``__post_init__``.

    Raises:
        SpecError: ``eps`` is not positive, or above 1 for L-infinity.
    """
    require(eps > 0, field="eps", expected="above 0", got=eps)
    require(norm != "linf" or eps <= 1, field="eps", expected="of at most 1, the range of pixels", got=eps)


def check_ball(eps: float, norm: AnyNorm, shape: tuple[int, int, int]) -> None:
    """Refuse a ball that holds every perturbation that images of a shape [c, h, w] can have.

    Raises:
        UsageError: No two images are so far apart.
    """
    values = math.prod(shape)
    farthest = {"linf": 1.0, "l2": math.sqrt(values), "l1": float(values)}[norm]
    if eps > farthest:
        raise UsageError(
            expected=f"an eps of at most {farthest:.4g}, the {norm} distance of a black and a white image of {shape}",
            got=f"{eps}",
            remedy="Lower eps.",
        )


def norms(perturbations: Images, norm: AnyNorm) -> Float[Tensor, " n"]:
    """The norm of each perturbation, [n]."""
    flat = perturbations.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(p=1 if norm == "l1" else 2, dim=1)


def distortion(perturbations: Images) -> Float[Tensor, " n"]:
    """The root of the mean square of each perturbation's values, [n], in shares of the range of a pixel.

    Reference: Szegedy et al., Intriguing properties of neural networks, ICLR 2014, section 4.2.
    """
    return perturbations.flatten(1).square().mean(1).sqrt()


def onto_ball(perturbations: Images, eps: float, norm: Norm) -> Images:
    """The nearest perturbations, in Euclidean distance, whose norm is at most ``eps``.

    Args:
        perturbations: [n, c, h, w].
        eps: Radius, at least 0.
        norm: Which ball.

    Returns:
        [n, c, h, w]; what lies in the ball already is as it was.
    """
    if norm == "linf":
        return perturbations.clamp(-eps, eps)
    lengths = norms(perturbations, norm)
    return torch.where(lengths > eps, eps / lengths, 1.0).view(-1, 1, 1, 1) * perturbations


def onto_box(images: Images) -> Images:
    """The nearest images with all values in [0, 1]."""
    return images.clamp(0.0, 1.0)


def steepest(gradients: Images, norm: Norm) -> Images:
    """The perturbation of norm 1 along which a function with this gradient rises fastest; 0 where the gradient is 0.

    Args:
        gradients: [n, c, h, w].
        norm: What the perturbation is measured by.

    Returns:
        The sign of each value for L-infinity, the gradient over its length for L2, [n, c, h, w].
    """
    if norm == "linf":
        return gradients.sign()
    # Scaled first: the square of a gradient as small as a sure classifier's would vanish in single precision.
    largest = norms(gradients, "linf").view(-1, 1, 1, 1)
    scaled = torch.where(largest > 0, gradients / largest, 0.0)
    return torch.where(largest > 0, scaled / norms(scaled, norm).view(-1, 1, 1, 1), 0.0)


def within_ball(like: Images, eps: float, norm: Norm, rng: Rng) -> Images:
    """Perturbations drawn evenly from a ball, of the shape and on the device of ``like``.

    Args:
        like: [n, c, h, w].
        eps: Radius, at least 0.
        norm: Which ball.
        rng: Source of randomness; drawn on the CPU.
    """
    generator = rng.torch()
    if norm == "linf":
        drawn = torch.rand(like.shape, generator=generator) * 2 - 1
    else:
        direction = steepest(torch.randn(like.shape, generator=generator), norm)
        drawn = direction * torch.rand(len(like), 1, 1, 1, generator=generator) ** (1 / math.prod(like.shape[1:]))
    return (eps * drawn).to(like.device)


def onto_budget(masks: Float[Tensor, "n h w"], most: float) -> Float[Tensor, "n h w"]:
    """The nearest masks, in Euclidean distance, with values in [0, 1] whose sum is at most ``most``.

    Args:
        masks: Values in [0, 1].
        most: At least 0.

    Returns:
        [n, h, w]; one whose sum is small enough is as it was.

    Reference: Duchi et al., Efficient projections onto the l1-ball for learning in high dimensions, ICML 2008.
    """
    flat = masks.flatten(1)
    falling = flat.sort(dim=1, descending=True).values.cumsum(1)
    count = torch.arange(1, flat.shape[1] + 1, device=masks.device)
    # The sum of the largest k less what all must lose: it is largest where just those stay above 0.
    lost = ((falling - most) / count).amax(1).clamp_min(0)
    return (masks - lost[:, None, None]).clamp_min(0)
