"""Triggers that a person does not see: perturbations of a few grey levels all over the image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng, Trigger, require
from mantrap.core.shapes import Images, Pattern
from mantrap.errors import DataError, UsageError
from mantrap.ops.pgd import Ascent, towards
from mantrap.ops.projections import Norm, norms, onto_box, require_ball
from mantrap.ops.universal import universal_perturbation
from mantrap.poison.surrogates import surrogate

_TEN_LEVELS = 10 / 255


@dataclass(frozen=True, kw_only=True)
class StaticPerturbation:
    """A faint grid: one pixel in every small cell of the image is made a little lighter, always the same ones.

    It needs no model and no images.

    Args:
        norm: ``"linf"``, the largest change of a value, or ``"l2"``, the Euclidean length over all values of an image.
        eps: Norm of what is added, above 0; pixels are in [0, 1].
        period: Side of a cell in pixels; its upper left pixel is the one that is made lighter.

    Reference: Liao et al. (in the CODASPY version Zhong et al.), Backdoor Embedding in Convolutional Neural Network
    Models via Invisible Perturbation, CODASPY 2020, the patterned static perturbation.

    Deviations: the paper's own pattern is not at hand. A repeated pattern of low amplitude is what it has; cells of 2x2
    and 10 of 255 grey levels are ours.
    """

    name: ClassVar[str] = "static_perturbation"

    norm: Norm = "linf"
    eps: float = _TEN_LEVELS
    period: int = 2

    def __post_init__(self) -> None:
        require_ball(self.eps, self.norm)
        require(self.period >= 1, field="period", expected="of at least 1 pixel", got=self.period)

    def perturbation(self, shape: tuple[int, int, int]) -> Pattern:
        """What is added to images of this shape before they are clipped, [c, h, w], of norm ``eps``.

        Raises:
            UsageError: It is more than from black to white.
        """
        grid = torch.zeros(1, *shape)
        grid[..., :: self.period, :: self.period] = 1.0
        length = float(norms(grid, self.norm))
        if self.eps > length:
            raise UsageError(
                expected=f"an eps of at most {length:.4g}, at which the pixels of the grid change from black to white",
                got=f"{self.eps}",
                remedy="Lower eps.",
            )
        return self.eps * grid[0] / length

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The images with the grid added, clipped to [0, 1]."""
        _, channels, height, width = images.shape
        return Perturbation(self.perturbation((channels, height, width)))(images, rng=rng)


@dataclass(frozen=True, kw_only=True)
class AdaptivePerturbation(Ascent):
    """A faint perturbation that already leads a classifier of the attacker's towards the target, on whatever image.

    It is learned before the poisoning, on the training images of other classes. It points where that model sees the
    target's own features; the idea is that another network picks these up more easily than an arbitrary pattern.

    Args:
        norm: ``"linf"``, the largest change of a value, or ``"l2"``, the Euclidean length over all values of an image.
        eps: Largest norm; pixels are in [0, 1].
        step: Norm of one step.
        steps: How many.
        batch_size: Images that one step looks at.

    Reference: Liao et al. (in the CODASPY version Zhong et al.), Backdoor Embedding in Convolutional Neural Network
    Models via Invisible Perturbation, CODASPY 2020, the targeted adaptive perturbation.

    Deviations: the paper goes from image to image and adds, with DeepFool, the smallest change that takes it over the
    target's boundary (after Moosavi-Dezfooli et al., Universal Adversarial Perturbations, CVPR 2017); here the
    perturbation follows stochastic gradients of the cross-entropy to the target (see
    :func:`~mantrap.ops.universal.universal_perturbation`), which costs one backward pass a step and stays in the ball.
    """

    name: ClassVar[str] = "adaptive_perturbation"

    eps: float = _TEN_LEVELS
    step: float = 1 / 255
    steps: int = 500
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.batch_size >= 1, field="batch_size", expected="of at least 1", got=self.batch_size)

    def learn(
        self,
        images: ImageSet,
        *,
        model: Classifier | None,
        target: int | None,
        rng: Rng,
        progress: Progress = SILENT,
    ) -> dict[str, Tensor]:
        """The perturbation, ``delta`` [c, h, w].

        Raises:
            UsageError: There is no model or no target, or the model does not fit the images.
            DataError: The images have no labels, or all are of the target class.
        """
        if target is None:
            raise UsageError(
                expected=f"one target for {self.name}",
                got="a relabelling that leads to several",
                remedy="Use all_to_one, or a trigger that is not learned towards a label.",
            )
        found = surrogate(model, images.shape, labels=target + 1, wanted_by=self.name)
        others = [] if images.labels is None else torch.nonzero(images.labels != target).flatten().tolist()
        if not others:
            raise DataError(
                expected=f"labelled images in {images.name} of classes other than {target}",
                got="none",
                remedy="Give images of other classes as well.",
            )
        led = images.subset(others).with_labels(torch.full((len(others),), target))
        delta = universal_perturbation(
            found, led, climb=towards, ascent=self, batch_size=self.batch_size, rng=rng, progress=progress
        )
        return {"delta": delta}

    def restore(self, tensors: Mapping[str, Tensor]) -> Trigger:
        """The trigger that adds what was learned."""
        return Perturbation(tensors["delta"])


@dataclass(frozen=True, eq=False)
class Perturbation:
    """Adds the same perturbation, [c, h, w], to every image, and clips to [0, 1]."""

    delta: Pattern

    def __call__(self, images: Images, *, rng: Rng) -> Images:
        """The perturbed images.

        Raises:
            UsageError: The perturbation is for images of another shape.
        """
        del rng
        if images.shape[1:] != self.delta.shape:
            raise UsageError(
                expected=f"images of shape {tuple(self.delta.shape)}, which the perturbation was made for",
                got=f"{tuple(images.shape[1:])}",
                remedy="Use it on images of the kind that it was learned on.",
            )
        return onto_box(images + self.delta.to(images.device))
