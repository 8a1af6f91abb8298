"""Warps that may move pixels so far and no farther: how near they bring images to a label."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mantrap.core import Classifier, Rng, require
from mantrap.core.shapes import Images
from mantrap.detect.limited import Limited, LimitedSearch
from mantrap.detect.passes import Arm, Triggers, streams_of
from mantrap.ops.boxed_adam import BoxedAdam
from mantrap.ops.warp import through, warp

_REACH = 4.0
"""How far a single vector may go, as a multiple of what all may in the root mean square."""
_BEGIN = 0.4
"""Standard deviation of what arms begin with, in the same unit."""


@dataclass(frozen=True, kw_only=True)
class Warping(Limited):
    """How warps are searched.

    Args: those of :class:`~mantrap.detect.limited.Limited`, and:
        grid: Control vectors along each side, through which a warp runs smoothly.
        far: How far a warp may move the pixels, in the root mean square, as a share of the image's longer side.
        rate: Learning rate, as a share of that.
        measure: Share of the steps, the last ones, in which it counts how near images come.
    """

    grid: int = 4
    far: float = 0.035
    rate: float = 0.4
    measure: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.grid >= 2, field="grid", expected="of at least 2", got=self.grid)
        for field in ("far", "rate"):
            require(getattr(self, field) > 0, field=field, expected="above 0", got=getattr(self, field))
        require(0 < self.measure <= 1, field="measure", expected="in (0, 1]", got=self.measure)


class Warps(Triggers):
    """Control vectors [a, 2, k, k] of warps, each as far as it may go or less.

    Args:
        control: To begin with, in [-1, 1]: 1 is ``_REACH`` times as far as pixels may go.
        most: How far that is, in pixels, root mean square.
        rate: Learning rate, as a share of ``most``.
        shape: Height and width of the images.
    """

    def __init__(self, control: Float[Tensor, "a 2 k k"], most: float, rate: float, shape: tuple[int, int]) -> None:
        self.control, self._most, self._shape = control, most, shape
        self._adam = BoxedAdam(control, rate / _REACH, low=-1.0)
        self._slope = torch.empty_like(control)
        self._hold_back()

    def flows(self, control: Float[Tensor, "a 2 k k"]) -> Float[Tensor, "a 2 h w"]:
        """How far each pixel is moved, right and down, in pixels."""
        return through(_REACH * self._most * control, *self._shape)

    def stamped(self, arms: slice, images: Tensor) -> Tensor:
        """The images, warped."""
        return self._warped(self.control[arms], images)

    def note(self, arms: slice, images: Tensor, slopes: Tensor) -> None:
        """How the loss changes with the control vectors."""
        with torch.enable_grad():
            control = self.control[arms].clone().requires_grad_()
            (self._slope[arms],) = torch.autograd.grad(self._warped(control, images), control, slopes)

    def descend(self) -> None:
        """One step down the slopes that were noted, and back as far as pixels may go."""
        self._adam.descend(self._slope)
        self._hold_back()

    def _warped(self, control: Float[Tensor, "a 2 k k"], images: Tensor) -> Tensor:
        flows = self.flows(control)[:, None].expand(-1, images.shape[1], -1, -1, -1)
        return warp(images.flatten(0, 1), flows.flatten(0, 1)).view(images.shape)

    def _hold_back(self) -> None:
        far = self.flows(self.control).square().sum(1).mean((1, 2)).sqrt()
        self.control.mul_((self._most / far.clamp_min(torch.finfo(far.dtype).tiny)).clamp(max=1)[:, None, None, None])


class WarpSearch(LimitedSearch):
    """The search of some arms for warps.

    Args:
        model: The classifier, frozen; best a fast copy.
        images: Images to search with, [n, c, h, w] in [0, 1], on the model's device.
        arms: What to search for.
        warping: How.
        rng: Source of randomness.
        at_once: Images in one pass through the model, at least; an arm's images stay together.
    """

    def __init__(
        self, model: Classifier, images: Images, arms: Sequence[Arm], warping: Warping, rng: Rng, *, at_once: int
    ) -> None:
        height, width = model.input_shape[1:]
        grid = (2, warping.grid, warping.grid)
        starts = [torch.randn(grid, generator=s.child("start").torch()) for s in streams_of(arms, rng)]
        control = (_BEGIN / _REACH * torch.stack(starts)).clamp(-1, 1).to(images.device)
        self.warps = Warps(control, warping.far * max(height, width), warping.rate, (height, width))
        super().__init__(model, images, arms, warping, rng, at_once=at_once, triggers=self.warps)
        self._from = min(warping.steps - 1, round((1 - warping.measure) * warping.steps))
        self._near_in_all: Float[Tensor, " a"] = torch.zeros(len(arms), device=images.device)

    def advance(self) -> None:
        """One step of every arm."""
        self._look()
        if self.step >= self._from:
            self._near_in_all += self.likely.mean(1)
        self.warps.descend()
        self.step += 1

    def nearness(self) -> Float[Tensor, " a"]:
        """How near each arm's images came to its label, in the mean over images and the last steps, in [0, 1]."""
        return self._near_in_all / max(1, self.step - self._from)

    def _likely(self, logits: Tensor, wanted: Tensor) -> Tensor:
        return self._near(logits, wanted)
